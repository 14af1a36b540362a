// A key that all regions of RegionsTest hold, and ways to read it.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "kms/regions_fixture.h"

namespace keyfs::testing {

class RegionsUnwrap : public RegionsTest {
 protected:
  // A key that all regions hold; the calls that it took are not counted.
  void build_with_key() {
    build();
    auto made = create();
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->wrapped.size(), region.size());
    key = std::move(made->key);
    wrapped = std::move(made->wrapped);
    verifier = [this](const SecretBytes& plain) -> Result<void> {
      if (plain.equals(key.reveal())) return {};
      return fail(Code::kCorrupt, "the key check value does not match");
    };
    forget_calls();
  }
  void all_answer_after(Duration delay) {
    for (auto* one : region) one->answer_after(delay);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(unwrap(wrapped));  // so that p95 is known
  }
  void expect_the_key(const Result<UnwrappedKey>& got) {
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(got->key.equals(key.reveal()));
  }
  void read() { expect_the_key(unwrap(wrapped)); }
  Task<bool> still_waiting_after(TaskGroup<Result<UnwrappedKey>>& group, Duration time_left) {
    co_return !(co_await group.next(in(time_left)));
  }

  SecretBytes key;
  WrappedKeys wrapped;
};

}  // namespace keyfs::testing
