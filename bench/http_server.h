// A small HTTP/1.1 server for the substitutes in bench/: kept connections, and replies delayed by a
// given time.
//
// Thread-safety: none; all on the thread of run(). Ownership: owns its connections. Blocking: run()
// until the process ends. Errors: a failure at start ends the process.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

namespace keyfs::bench {

struct ServerRequest {
  std::string_view path;
  std::string_view target;  // X-Amz-Target, or empty
  std::string_view body;
};

struct ServerReply {
  int status = 200;
  std::string body;
  std::chrono::microseconds delay{0};
};

class HttpServer {
 public:
  // nullopt: never answered; the connection stays open.
  using Handler = std::function<std::optional<ServerReply>(const ServerRequest&)>;

  HttpServer();
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Listens on 127.0.0.1; port 0 takes any free one. Returns the port.
  uint16_t listen(uint16_t port, Handler handler);
  [[noreturn]] void run();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Connection {
    int fd = -1;
    uint64_t number = 0;
    const Handler* handler = nullptr;
    std::string in;
    std::string out;
    bool waits_to_write = false;
  };
  struct Held {
    Time due;
    uint64_t connection;
    std::string bytes;
    bool operator>(const Held& other) const { return due > other.due; }
  };

  void accept_all(int listener, const Handler& handler);
  void receive(Connection& connection);
  bool serve_one(Connection& connection);
  void send(Connection& connection, std::string_view bytes);
  void flush(Connection& connection);
  void close(uint64_t number);
  void send_due(Time now);
  void watch(int fd, uint64_t number, bool writable, bool add);

  int epoll_;
  uint64_t next_ = 1;
  std::map<uint64_t, std::pair<int, Handler>> listeners_;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::priority_queue<Held, std::vector<Held>, std::greater<>> held_;
};

}  // namespace keyfs::bench
