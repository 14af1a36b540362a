#include "bench/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace keyfs::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

// The value of a header of the head, or empty.
std::string_view header(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    if (line.size() > name.size() && line[name.size()] == ':' &&
        strncasecmp(line.data(), name.data(), name.size()) == 0) {
      std::string_view value = line.substr(name.size() + 1);
      while (value.starts_with(' ')) value.remove_prefix(1);
      return value;
    }
    head.remove_prefix(std::min(head.size(), end + 2));
  }
  return {};
}

std::string to_bytes(const ServerReply& reply) {
  return "HTTP/1.1 " + std::to_string(reply.status) + (reply.status == 200 ? " OK" : " Error") +
         "\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: " +
         std::to_string(reply.body.size()) + "\r\n\r\n" + reply.body;
}

}  // namespace

HttpServer::HttpServer() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) die("epoll_create1");
}

HttpServer::~HttpServer() { ::close(epoll_); }

void HttpServer::watch(int fd, uint64_t number, bool writable, bool add) {
  epoll_event event{};
  event.events = EPOLLIN | (writable ? EPOLLOUT : 0u);
  event.data.u64 = number;
  epoll_ctl(epoll_, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

uint16_t HttpServer::listen(uint16_t port, Handler handler) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(fd, SOMAXCONN) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    die("listen");
  }
  const uint64_t number = next_++;
  listeners_.emplace(number, std::pair(fd, std::move(handler)));
  watch(fd, number, false, true);
  return ntohs(address.sin_port);
}

void HttpServer::run() {
  std::array<epoll_event, 256> events;
  for (;;) {
    timespec timeout{};
    if (!held_.empty()) {
      const auto wait = std::max<int64_t>(
          0, std::chrono::nanoseconds(held_.top().due - SteadyClock::now()).count());
      timeout.tv_sec = wait / 1'000'000'000;
      timeout.tv_nsec = wait % 1'000'000'000;
    }
    const int count = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()),
                                   held_.empty() ? nullptr : &timeout, nullptr);
    send_due(SteadyClock::now());
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (const auto listener = listeners_.find(event.data.u64); listener != listeners_.end()) {
        accept_all(listener->second.first, listener->second.second);
        continue;
      }
      const auto found = connections_.find(event.data.u64);
      if (found == connections_.end()) continue;
      if ((event.events & EPOLLOUT) != 0) flush(*found->second);
      if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(*found->second);
    }
  }
}

void HttpServer::accept_all(int listener, const Handler& handler) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    connection->number = next_++;
    connection->handler = &handler;
    watch(fd, connection->number, false, true);
    connections_.emplace(connection->number, std::move(connection));
  }
}

void HttpServer::receive(Connection& connection) {
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    const ssize_t got = recv(connection.fd, buffer.data(), buffer.size(), 0);
    if (got > 0) {
      connection.in.append(buffer.data(), static_cast<size_t>(got));
      if (got < static_cast<ssize_t>(buffer.size())) break;
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
    return close(connection.number);
  }
  while (serve_one(connection)) {
  }
}

bool HttpServer::serve_one(Connection& connection) {
  const std::string_view all = connection.in;
  const size_t head_end = all.find("\r\n\r\n");
  if (head_end == all.npos) return false;
  const std::string_view head = all.substr(0, head_end);
  const std::string_view length_text = header(head, "Content-Length");
  size_t length = 0;
  std::from_chars(length_text.data(), length_text.data() + length_text.size(), length);
  if (all.size() < head_end + 4 + length) return false;
  const size_t path_begin = std::min(head.find(' ') + 1, head.size());
  ServerRequest request;
  request.path = head.substr(path_begin, head.find(' ', path_begin) - path_begin);
  request.target = header(head, "X-Amz-Target");
  request.body = all.substr(head_end + 4, length);
  auto reply = (*connection.handler)(request);
  connection.in.erase(0, head_end + 4 + length);
  if (!reply) return true;
  std::string bytes = to_bytes(*reply);
  if (reply->delay.count() == 0) {
    send(connection, bytes);
  } else {
    held_.push({SteadyClock::now() + reply->delay, connection.number, std::move(bytes)});
  }
  return true;
}

void HttpServer::send(Connection& connection, std::string_view bytes) {
  connection.out += bytes;
  flush(connection);
}

void HttpServer::flush(Connection& connection) {
  while (!connection.out.empty()) {
    const ssize_t sent =
        ::send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN && !connection.waits_to_write) {
        connection.waits_to_write = true;
        watch(connection.fd, connection.number, true, false);
      }
      return;  // receive() notices everything else that is wrong
    }
    connection.out.erase(0, static_cast<size_t>(sent));
  }
  if (connection.waits_to_write) watch(connection.fd, connection.number, false, false);
  connection.waits_to_write = false;
}

void HttpServer::close(uint64_t number) {
  const auto found = connections_.find(number);
  ::close(found->second->fd);
  connections_.erase(found);
}

void HttpServer::send_due(Time now) {
  while (!held_.empty() && held_.top().due <= now) {
    if (const auto found = connections_.find(held_.top().connection); found != connections_.end()) {
      send(*found->second, held_.top().bytes);
    }
    held_.pop();
  }
}

}  // namespace keyfs::bench
