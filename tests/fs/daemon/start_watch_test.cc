#include "fs/daemon/start_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>

namespace keyfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Told {
  std::promise<std::string> promise;
  std::future<std::string> future = promise.get_future();
  StartWatch watch{[this](const std::string& why) { promise.set_value(why); }};

  bool within(seconds time) { return future.wait_for(time) == std::future_status::ready; }
};

TEST(StartWatch, a_step_that_does_nothing_is_told_with_its_path) {
  Told told;
  told.watch.step("reading", "/etc/keyfs.ini", seconds(1000));
  told.watch.step("opening state_dir", "/frozen", milliseconds(1));
  ASSERT_TRUE(told.within(seconds(20)));
  const std::string why = told.future.get();
  EXPECT_NE(why.find("opening state_dir (/frozen) takes longer than 1.0 s"), std::string::npos)
      << why;
}

TEST(StartWatch, what_is_slow_but_works_is_let_work) {
  Told told;
  told.watch.step("opening a large replica", "", seconds(1));
  const auto end = std::chrono::steady_clock::now() + seconds(3);
  while (std::chrono::steady_clock::now() < end) {
  }
  EXPECT_FALSE(told.within(seconds(0)));
  told.watch.over();
}

TEST(StartWatch, after_its_end_nothing_is_told) {
  Told told;
  told.watch.step("opening", "", seconds(1));
  told.watch.over();
  EXPECT_FALSE(told.within(seconds(2)));
}

}  // namespace
}  // namespace keyfs
