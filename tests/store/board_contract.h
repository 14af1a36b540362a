// What every board must guarantee. A backend's test consists of these lines:
//
//   class MyBoardUnderTest final : public BoardUnderTest { ... };
//   INSTANTIATE_TEST_SUITE_P(My, BoardContract, ::testing::Values([] {
//     return std::make_unique<MyBoardUnderTest>();
//   }));
//
// and board_test_parts among the libraries of its program. Each test gets a new BoardUnderTest,
// whose board must be empty.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "store/board.h"
#include "store/store.h"

namespace keyfs::testing {

class BoardUnderTest {
 public:
  virtual ~BoardUnderTest() = default;

  // The loop that all clients of this test run on. Its clock is real if the store takes real time.
  virtual Loop& loop() = 0;
  // Another client of the same store, like another daemon.
  virtual std::unique_ptr<Store> connect() = 0;
  // Without keyfs's knowledge: what is there under that name is no document any more.
  virtual void damage(const std::string& name) = 0;

  // A limit that no call within the contract reaches.
  virtual Duration patience() const { return std::chrono::seconds(60); }
};

using MakeBoardUnderTest = std::function<std::unique_ptr<BoardUnderTest>()>;

class BoardContract : public ::testing::TestWithParam<MakeBoardUnderTest> {
 protected:
  void SetUp() override {
    under_test_ = GetParam()();
    store_ = under_test_->connect();
    ASSERT_NE(store_->board(), nullptr);
  }
  void TearDown() override {
    under_test_->loop().shutdown();
    store_.reset();
    under_test_.reset();
  }

  Loop& loop() { return under_test_->loop(); }
  Board& board() { return *store_->board(); }
  TimePoint deadline() { return loop().now() + under_test_->patience(); }
  template <class T>
  T run(Task<T> task) {
    return loop().run_task(std::move(task));
  }

  Result<std::optional<BoardDocument>> get(const std::string& name) {
    return run(board().get(name, deadline()));
  }
  Result<BoardWrite> put(const std::string& name, const std::string& text) {
    return run(board().put_if_absent(name, text, deadline()));
  }
  Result<BoardWrite> replace(const std::string& name, const std::string& text,
                             const std::string& revision) {
    return run(board().replace(name, text, revision, deadline()));
  }
  Result<BoardWrite> remove(const std::string& name, const std::string& revision) {
    return run(board().remove(name, revision, deadline()));
  }
  // All pages, each of at most `limit` documents; a failure is a failed expectation.
  std::vector<BoardDocument> list_all(const std::string& prefix, size_t limit);

  std::unique_ptr<BoardUnderTest> under_test_;
  std::unique_ptr<Store> store_;
};

}  // namespace keyfs::testing
