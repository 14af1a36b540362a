// A Unix socket that answers each byte with 32 bytes: the baseline of a local agent without a file
// system. One thread for each connection.
//
//   read_server SOCKET
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: read_server SOCKET\n");
    return 2;
  }
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  unlink(argv[1]);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 128) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  for (;;) {
    const int connection = accept(listener, nullptr, nullptr);
    if (connection < 0) continue;
    std::thread([connection] {
      constexpr char kKey[32] = {};
      char byte = 0;
      while (read(connection, &byte, 1) == 1 && write(connection, kKey, 32) == 32) {
      }
      close(connection);
    }).detach();
  }
}
