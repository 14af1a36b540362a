#include "base/syslog_sink.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "base/file.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

TEST(SyslogSink, tells_each_line_with_its_priority_and_counts_what_nobody_takes) {
  const testing::TemporaryDirectory folder;
  const std::string path = folder.file("log");
  EXPECT_FALSE(open_syslog_sink(path)) << "nobody listens";
  const Descriptor listener(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const auto sink = open_syslog_sink(path);
  ASSERT_TRUE(sink) << sink.error().message;
  (*sink)->write(LogLevel::kError, "msg=x");
  std::string line(200, '\0');
  line.resize(static_cast<size_t>(::recv(listener.get(), line.data(), line.size(), 0)));
  EXPECT_EQ(line, "<27>keyfs[" + std::to_string(::getpid()) + "]: msg=x");
  EXPECT_EQ((*sink)->lost(), 0U);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  (*sink)->write(LogLevel::kInfo, "msg=y");
  EXPECT_EQ((*sink)->lost(), 1U);
}

}  // namespace
}  // namespace keyfs
