// A board in memory, for tests: as strict as a real one, but gone with its process; and a wrapper
// that fails on command.
//
// MemoryDocuments is the "server"; each MemoryBoard is a client of it, like a daemon.
//
// Thread-safety: MemoryDocuments is thread-safe, so clients may run on different loops; a board
// belongs to its loop. Ownership: clients share the documents. Blocking: never. Errors: as in
// store/board.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "store/board.h"

namespace keyfs {

class MemoryDocuments {
 public:
  std::optional<BoardDocument> find(const std::string& name) const {
    std::lock_guard lock(mutex_);
    const auto found = documents_.find(name);
    if (found == documents_.end()) return std::nullopt;
    return found->second;
  }
  // `old` empty: if there is none.
  BoardWrite write(const std::string& name, std::string text, const std::string& old) {
    std::lock_guard lock(mutex_);
    const auto found = documents_.find(name);
    const bool may =
        found == documents_.end() ? old.empty() : !old.empty() && found->second.revision == old;
    if (!may) return {false, now(found)};
    BoardDocument document{name, std::move(text), std::to_string(++last_)};
    documents_[name] = document;
    return {true, std::move(document)};
  }
  BoardWrite remove(const std::string& name, const std::string& old) {
    std::lock_guard lock(mutex_);
    const auto found = documents_.find(name);
    if (found != documents_.end() && found->second.revision != old) return {false, found->second};
    if (found != documents_.end()) documents_.erase(found);
    ++last_;
    return {true, std::nullopt};
  }
  BoardPage list(const std::string& prefix, const std::string& after, size_t limit) const {
    std::lock_guard lock(mutex_);
    BoardPage page;
    const auto at = after < prefix ? documents_.lower_bound(prefix) : documents_.upper_bound(after);
    for (auto next = at; next != documents_.end() && next->first.starts_with(prefix); ++next) {
      if (page.documents.size() + page.corrupt.size() == limit) {
        page.next = std::prev(next)->first;
        break;
      }
      if (next->second.revision.empty()) {
        page.corrupt.push_back(next->first);
      } else {
        page.documents.push_back(next->second);
      }
    }
    return page;
  }
  // Changes with every write.
  uint64_t changes() const {
    std::lock_guard lock(mutex_);
    return last_;
  }
  // Without the clients' knowledge: it is no document any more.
  void damage(const std::string& name) {
    std::lock_guard lock(mutex_);
    documents_[name].revision.clear();
  }

 private:
  using Documents = std::map<std::string, BoardDocument>;
  std::optional<BoardDocument> now(Documents::const_iterator found) const {
    if (found == documents_.end()) return std::nullopt;
    return found->second;
  }

  mutable std::mutex mutex_;
  Documents documents_;
  uint64_t last_ = 0;
};

class MemoryBoard final : public Board {
 public:
  MemoryBoard(Loop& loop, std::shared_ptr<MemoryDocuments> documents)
      : loop_(loop), documents_(std::move(documents)) {}

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override {
    if (auto ok = co_await begin(check_board_name(name), deadline); !ok) co_return fail(ok.error());
    auto found = documents_->find(name);
    if (auto ok = check(found); !ok) co_return fail(ok.error());
    co_return found;
  }
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override {
    return get(std::move(name), deadline);
  }
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override {
    return write(std::move(name), std::move(text), "", deadline);
  }
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override {
    if (revision.empty()) revision = "none";
    return write(std::move(name), std::move(text), std::move(revision), deadline);
  }
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override {
    if (auto ok = co_await begin(check_board_name(name), deadline); !ok) co_return fail(ok.error());
    BoardWrite removed = documents_->remove(name, revision);
    if (auto good = check(removed.now); !good) co_return fail(good.error());
    co_return removed;
  }
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override {
    auto ok = co_await begin(check_board_prefix(prefix), deadline);
    if (!ok) co_return fail(ok.error());
    co_return documents_->list(prefix, after, std::clamp<size_t>(limit, 1, kMaxBoardPage));
  }
  bool can_watch() const override { return true; }
  Task<void> watch(BoardListener& listener) override {
    std::optional<uint64_t> seen;
    for (;;) {
      const uint64_t now = documents_->changes();
      if (seen != now) listener.on_gap();
      seen = now;
      co_await loop_.sleep_for(std::chrono::seconds(1));
    }
  }
  Task<std::vector<CheckItem>> check(TimePoint) override {
    std::vector<CheckItem> items;
    items.push_back({"board", true, "in memory", "", false});
    co_return items;
  }

 private:
  Task<Result<BoardWrite>> write(std::string name, std::string text, std::string old,
                                 TimePoint deadline) {
    auto ok = co_await begin(check_board_document(name, text), deadline);
    if (!ok) co_return fail(ok.error());
    BoardWrite written = documents_->write(name, std::move(text), old);
    if (auto good = check(written.now); !good) co_return fail(good.error());
    co_return written;
  }
  Task<Result<void>> begin(Result<void> arguments, TimePoint deadline) {
    if (!arguments) co_return arguments;
    co_await loop_.yield();
    if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "board: timed out");
    co_return Result<void>();
  }
  static Result<void> check(const std::optional<BoardDocument>& found) {
    if (!found || !found->revision.empty()) return {};
    return fail(Code::kCorrupt, "the document " + found->name + " on the board is damaged");
  }

  Loop& loop_;
  std::shared_ptr<MemoryDocuments> documents_;
};

namespace testing {

// The test may change all of it at any time: it applies from the next call on.
class FaultyBoard final : public Board {
 public:
  FaultyBoard(Loop& loop, Board& real) : loop_(loop), real_(real) {}

  std::optional<Error> error;       // the answer; nothing is carried out
  std::optional<Error> lose_reply;  // writes are carried out, and this is the answer
  bool hang = false;                // never carried out, never answers
  int reads = 0;
  int peeks = 0;
  int writes = 0;
  int lists = 0;
  // Runs right before a write is carried out, once: for simulating another writer.
  std::function<void()> before_write;

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override {
    ++reads;
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    co_return co_await real_.get(std::move(name), deadline);
  }
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override {
    ++peeks;
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    co_return co_await real_.peek(std::move(name), deadline);
  }
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override {
    return write(real_.put_if_absent(std::move(name), std::move(text), deadline));
  }
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override {
    return write(real_.replace(std::move(name), std::move(text), std::move(revision), deadline));
  }
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override {
    return write(real_.remove(std::move(name), std::move(revision), deadline));
  }
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override {
    ++lists;
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    co_return co_await real_.list(std::move(prefix), std::move(after), limit, deadline);
  }
  bool can_watch() const override { return real_.can_watch(); }
  Task<void> watch(BoardListener& listener) override { return real_.watch(listener); }
  Task<std::vector<CheckItem>> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  Task<Result<BoardWrite>> write(Task<Result<BoardWrite>> real) {
    ++writes;
    const auto lost = lose_reply;
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    if (before_write) std::exchange(before_write, nullptr)();
    auto answer = co_await std::move(real);
    if (lost) co_return fail(*lost);
    co_return answer;
  }
  Task<Result<void>> suffer() {
    const auto told = error;
    if (hang) {
      OneShot<bool> never(loop_);
      co_await never;
    }
    if (told) co_return fail(*told);
    co_return Result<void>();
  }

  Loop& loop_;
  Board& real_;
};

}  // namespace testing
}  // namespace keyfs
