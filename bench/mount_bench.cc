// Measures a mount as its readers see it, against other ways to serve 32 bytes, in one run.
//
//   mount_bench OPERATION [--readers N] [--keys K] [--rounds R] [--round-ms M] [--cpu NAME=PID]...
//               NAME=TARGET...
//
// OPERATION
//   warm_cat   open, fstat, read of 128 KiB, read to the end, close: what cat does
//   warm_read  open, read, close: what a program does that knows the size
//   stat       stat(2) of the file
//   ls         opendir, readdir to the end, closedir of the directory
//   fill       open, read, close of each of the K keys once, shared among the readers: one turn
// TARGET
//   /a/folder          with files key-0 ... key-(K-1)
//   unix:/a/socket     one byte sent, 32 received, over a connection that is kept (read_server)
//   https://host/path  GET by libcurl over a connection that is kept; key-N is appended; the CA is
//                      taken from CURL_CA_BUNDLE
//
// Readers are separate processes. The targets take turns (A B A B ...) within each round, so that
// other load on the machine affects them alike; a round of which the hypervisor took more than 3 %
// is repeated, up to twice as often as there are rounds. Prints one JSON object: for each target
// and round the operations done, how long they took, their latencies in nanoseconds (mean,
// quantiles), and with --cpu the CPU time that the server behind the target used; and how many
// rounds were repeated.
#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "stolen_time.h"

namespace {

using Nanoseconds = std::chrono::nanoseconds;
using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "mount_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::_Exit(1);
}

// One way to get a key; created in the reader's process.
class Reader {
 public:
  virtual ~Reader() = default;
  virtual void once(size_t key) = 0;
};

class FileReader final : public Reader {
 public:
  FileReader(std::string operation, std::string folder)
      : operation_(std::move(operation)), folder_(std::move(folder)), buffer_(128 * 1024) {}

  void once(size_t key) override {
    if (operation_ == "ls") return list();
    const std::string path = folder_ + "/key-" + std::to_string(key);
    struct stat attributes {};
    if (operation_ == "stat") {
      if (stat(path.c_str(), &attributes) != 0) die(path);
      return;
    }
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) die(path);
    if (operation_ == "warm_cat") {
      if (fstat(fd, &attributes) != 0) die(path);
      while (read(fd, buffer_.data(), buffer_.size()) > 0) {
      }
    } else if (read(fd, buffer_.data(), 32) != 32) {
      die(path);
    }
    close(fd);
  }

 private:
  void list() {
    DIR* folder = opendir(folder_.c_str());
    if (folder == nullptr) die(folder_);
    while (readdir(folder) != nullptr) {
    }
    closedir(folder);
  }

  std::string operation_;
  std::string folder_;
  std::vector<char> buffer_;
};

class SocketReader final : public Reader {
 public:
  explicit SocketReader(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die(path);
  }
  ~SocketReader() override { close(fd_); }
  void once(size_t) override {
    char byte = 'r';
    char key[32];
    if (write(fd_, &byte, 1) != 1 || read(fd_, key, sizeof key) != sizeof key) die("socket");
  }

 private:
  int fd_;
};

class HttpsReader final : public Reader {
 public:
  explicit HttpsReader(std::string base) : base_(std::move(base)), curl_(curl_easy_init()) {
    curl_easy_setopt(
        curl_, CURLOPT_WRITEFUNCTION, +[](char*, size_t, size_t n, void*) { return n; });
    if (const char* ca = std::getenv("CURL_CA_BUNDLE")) curl_easy_setopt(curl_, CURLOPT_CAINFO, ca);
  }
  ~HttpsReader() override { curl_easy_cleanup(curl_); }
  void once(size_t key) override {
    curl_easy_setopt(curl_, CURLOPT_URL, (base_ + "/key-" + std::to_string(key)).c_str());
    if (const CURLcode code = curl_easy_perform(curl_); code != CURLE_OK) {
      die(curl_easy_strerror(code));
    }
  }

 private:
  std::string base_;
  CURL* curl_;
};

std::unique_ptr<Reader> make_reader(const std::string& operation, const std::string& target) {
  if (target.starts_with("unix:")) return std::make_unique<SocketReader>(target.substr(5));
  if (target.starts_with("https://")) return std::make_unique<HttpsReader>(target);
  return std::make_unique<FileReader>(operation, target);
}

// What the readers of one turn share with their parent.
struct Shared {
  static constexpr size_t kMaxSamples = size_t{1} << 20;  // of each reader; later ones are dropped
  std::atomic<int> ready{0};
  std::atomic<size_t> next_key{0};  // of fill
};

struct Samples {
  uint64_t operations;
  uint32_t nanoseconds[Shared::kMaxSamples];

  void add(Nanoseconds took) {
    if (operations < Shared::kMaxSamples) {
      nanoseconds[operations] = static_cast<uint32_t>(std::min<int64_t>(took.count(), UINT32_MAX));
    }
    ++operations;
  }
};

constexpr double kQuantiles[] = {0,   0.01, 0.05, 0.1,   0.25,  0.5,    0.75,
                                 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1};

template <class T>
T* share(size_t count) {
  void* memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return static_cast<T*>(memory);
}

struct Plan {
  std::string operation;
  size_t readers = 1;
  size_t keys = 1;
  size_t rounds = 9;
  size_t round_ms = 300;
  std::map<std::string, pid_t> servers;  // by target's name

  bool fill() const { return operation == "fill"; }
};

// What all threads of a process have run so far.
int64_t cpu_nanoseconds(pid_t pid) {
  int64_t sum = 0;
  std::error_code gone;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    int64_t ran = 0;
    if (std::ifstream(task.path() / "schedstat") >> ran) sum += ran;
  }
  return sum;
}

void read_when_told(const Plan& plan, const std::string& target, size_t number, Shared& shared,
                    Samples& samples, int start) {
  const auto reader = make_reader(plan.operation, target);
  size_t key = number * 7919 % plan.keys;
  if (!plan.fill()) reader->once(key);  // connections, entries and attributes are warm
  ++shared.ready;
  char none = 0;
  if (read(start, &none, 1) != 0) die("start");  // the end of the pipe is the starting gun
  if (plan.fill()) {
    for (size_t i = shared.next_key++; i < plan.keys; i = shared.next_key++) {
      const auto begin = SteadyClock::now();
      reader->once(i);
      samples.add(SteadyClock::now() - begin);
    }
    return;
  }
  const auto end = SteadyClock::now() + std::chrono::milliseconds(plan.round_ms);
  for (auto begin = SteadyClock::now(); begin < end;) {
    reader->once(key);
    key = key + 1 == plan.keys ? 0 : key + 1;
    const auto now = SteadyClock::now();
    samples.add(now - begin);
    begin = now;
  }
}

nlohmann::json one_turn(const Plan& plan, const std::string& target, pid_t server) {
  auto* shared = new (share<Shared>(1)) Shared;
  Samples* samples = share<Samples>(plan.readers);
  int start[2];
  if (pipe2(start, O_CLOEXEC) != 0) die("pipe");
  std::vector<pid_t> children;
  for (size_t i = 0; i < plan.readers; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      close(start[1]);
      read_when_told(plan, target, i, *shared, samples[i], start[0]);
      std::_Exit(0);
    }
    children.push_back(child);
  }
  while (shared->ready < static_cast<int>(plan.readers)) {
    if (waitpid(-1, nullptr, WNOHANG) > 0) die("a reader of " + target + " ended early");
    usleep(100);
  }
  const int64_t cpu = server == 0 ? 0 : cpu_nanoseconds(server);
  const auto begin = SteadyClock::now();
  close(start[0]);
  close(start[1]);
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) die("a reader failed");
  }
  const int64_t took = Nanoseconds(SteadyClock::now() - begin).count();
  const int64_t cpu_used = server == 0 ? 0 : cpu_nanoseconds(server) - cpu;
  std::vector<uint32_t> all;
  uint64_t operations = 0;
  for (size_t i = 0; i < plan.readers; ++i) {
    operations += samples[i].operations;
    const size_t kept = std::min<size_t>(samples[i].operations, Shared::kMaxSamples);
    all.insert(all.end(), samples[i].nanoseconds, samples[i].nanoseconds + kept);
  }
  munmap(samples, plan.readers * sizeof(Samples));
  munmap(shared, sizeof(Shared));
  std::sort(all.begin(), all.end());
  double sum = 0;
  for (const uint32_t sample : all) sum += sample;
  nlohmann::json turn = {{"operations", operations},
                         {"took", took},
                         {"mean", all.empty() ? 0 : sum / static_cast<double>(all.size())},
                         {"quantiles", nlohmann::json::array()}};
  if (server != 0) turn["cpu"] = cpu_used;
  for (const double quantile : kQuantiles) {
    const double last = all.empty() ? 0 : static_cast<double>(all.size() - 1);
    turn["quantiles"].push_back(all.empty() ? 0 : all[static_cast<size_t>(quantile * last)]);
  }
  return turn;
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  std::vector<std::string> targets;
  std::vector<std::string> servers;
  CLI::App app("Measures a mount as its readers see it.");
  app.add_option("operation", plan.operation)
      ->required()
      ->check(CLI::IsMember({"warm_cat", "warm_read", "stat", "ls", "fill"}));
  app.add_option("--readers", plan.readers)->check(CLI::PositiveNumber);
  app.add_option("--keys", plan.keys)->check(CLI::PositiveNumber);
  app.add_option("--rounds", plan.rounds)->check(CLI::PositiveNumber);
  app.add_option("--round-ms", plan.round_ms)->check(CLI::PositiveNumber);
  app.add_option("--cpu", servers, "NAME=PID")->allow_extra_args(false);
  app.add_option("targets", targets, "NAME=TARGET")->required();
  CLI11_PARSE(app, argc, argv);
  if (plan.fill()) plan.rounds = 1;
  for (const std::string& server : servers) {
    const size_t equals = server.find('=');
    if (equals == server.npos) die("a server is NAME=PID, not " + server);
    plan.servers[server.substr(0, equals)] = std::atoi(server.c_str() + equals + 1);
  }

  nlohmann::json result = {{"operation", plan.operation},
                           {"readers", plan.readers},
                           {"keys", plan.keys},
                           {"quantiles", kQuantiles},
                           {"targets", nlohmann::json::object()}};
  std::map<std::string, std::string> places;
  for (const std::string& target : targets) {
    const size_t equals = target.find('=');
    if (equals == std::string::npos) die("a target is NAME=TARGET, not " + target);
    places[target.substr(0, equals)] = target.substr(equals + 1);
  }
  size_t repeated = 0;
  for (size_t round = 0; round < plan.rounds;) {
    const StolenTime stolen;
    nlohmann::json turns;
    for (const std::string& target : targets) {
      const std::string name = target.substr(0, target.find('='));
      const auto server = plan.servers.find(name);
      turns[name] = one_turn(plan, places[name], server == plan.servers.end() ? 0 : server->second);
    }
    if (!plan.fill() && stolen.much() && repeated < 2 * plan.rounds) {
      ++repeated;
      continue;
    }
    for (auto& [name, turn] : turns.items()) result["targets"][name].push_back(std::move(turn));
    ++round;
  }
  result["repeated"] = repeated;
  std::printf("%s\n", result.dump().c_str());
  return 0;
}
