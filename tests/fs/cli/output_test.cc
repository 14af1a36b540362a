#include "fs/cli/output.h"

#include <gtest/gtest.h>

#include <sstream>

#include "fs/daemon/exit_code.h"

namespace keyfs {
namespace {

TEST(Output, an_error_is_one_line_that_names_the_program) {
  std::ostringstream out;
  std::ostringstream err;
  Output(out, err, false).error("a\nb\x1b[31m");
  EXPECT_EQ(err.str(), "keyfs: a?b?[31m\n");
  EXPECT_EQ(out.str(), "");
}

TEST(Output, columns_line_up) {
  std::ostringstream out;
  print_table(out, {{"ID", "STATE"}, {"orders", "enabled"}, {"a"}});
  EXPECT_EQ(out.str(), "ID      STATE\norders  enabled\na\n");
}

TEST(Tally, some_done_and_some_failed_is_done_in_part) {
  Tally none;
  EXPECT_EQ(none.code(), ExitCode::kDone);
  Tally mixed;
  mixed.done();
  EXPECT_EQ(mixed.code(), ExitCode::kDone);
  mixed.failed();
  EXPECT_EQ(mixed.code(), ExitCode::kPartial);
  Tally failed;
  failed.failed();
  EXPECT_EQ(failed.code(), ExitCode::kFailed);
  Tally degraded;
  degraded.partial();
  EXPECT_EQ(degraded.code(), ExitCode::kPartial);
}

}  // namespace
}  // namespace keyfs
