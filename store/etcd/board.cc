#include "store/etcd/board.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "store/board_marks.h"
#include "store/etcd/board_watch.h"
#include "store/etcd/store.h"

namespace keyfs {
namespace {

// Sorts before all that may follow a name.
constexpr char kBeforeAll = ' ';

struct Revision {
  int64_t number = 0;  // mod_revision
  std::string trail;
};

std::optional<Revision> parse_revision(std::string_view text) {
  Revision revision;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), revision.number);
  if (error != std::errc() || revision.number < 1 || end == text.data() + text.size()) {
    return std::nullopt;
  }
  revision.trail = text.substr(static_cast<size_t>(end - text.data()) + 1);
  if (*end != ' ' || !is_board_trail(revision.trail)) return std::nullopt;
  return revision;
}

std::string to_text(int64_t number, std::string_view trail) {
  return std::to_string(number) + " " + std::string(trail);
}

std::string to_value(std::string_view trail, const std::string& text) {
  return std::string(trail) + "\n" + text;
}

Result<BoardDocument> to_document(const EtcdKeyValue& kv, const std::string& name) {
  const size_t newline = kv.value.find('\n');
  const auto trail = std::string_view(kv.value).substr(0, newline);
  if (newline == std::string::npos || !is_board_trail(trail) ||
      kv.value.size() - newline - 1 > kMaxDocumentBytes) {
    return fail(Code::kCorrupt, "the document " + name + " on the board is damaged");
  }
  return BoardDocument{name, kv.value.substr(newline + 1), to_text(kv.mod_revision, trail)};
}

bool may_have_been_done(const Error& error) {
  return error.code == Code::kUnavailable || error.code == Code::kTimeout;
}

Error bad_revision(const std::string& name) {
  return Error(Code::kInvalid, "this revision of document " + name + " is not from this board");
}

}  // namespace

Task<Result<std::optional<BoardDocument>>> EtcdBoard::read(std::string name, bool serializable,
                                                           TimePoint deadline) {
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "etcd: document " + name + " could not be read";
  // Which cluster it is matters for a miss, too.
  auto ok = co_await store_.registry_.identify(deadline);
  if (!ok) co_return fail(ok.error().within(what));
  EtcdRange range(documents_ + name);
  range.serializable = serializable;
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.needs_leader = !serializable;
  auto answer = co_await store_.client_.call(std::move(call), deadline);
  if (!answer) co_return fail(answer.error().error.within(what));
  if (answer->kvs.empty()) co_return std::nullopt;
  auto document = to_document(answer->kvs[0], name);
  if (!document) co_return fail(std::move(document.error()));
  co_return std::move(*document);
}

Task<Result<std::optional<BoardDocument>>> EtcdBoard::get(std::string name, TimePoint deadline) {
  return read(std::move(name), false, deadline);
}

Task<Result<std::optional<BoardDocument>>> EtcdBoard::peek(std::string name, TimePoint deadline) {
  return read(std::move(name), true, deadline);
}

Task<Result<void>> EtcdBoard::may_write(TimePoint deadline) {
  if (auto ok = co_await store_.registry_.identify(deadline); !ok) co_return ok;
  co_return co_await store_.registry_.may_create(deadline);
}

Task<Result<BoardWrite>> EtcdBoard::write(std::string name, std::string text, EtcdCompare compare,
                                          std::string trail, TimePoint deadline) {
  if (auto ok = check_board_document(name, text); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "etcd: document " + name + " could not be written";
  const auto mark = new_board_mark(store_.random_);
  if (!mark) co_return fail(mark.error());
  if (auto ok = co_await may_write(deadline); !ok) co_return fail(ok.error().within(what));
  trail = board_trail(*mark, trail);
  EtcdPutIf txn;
  txn.key = documents_ + name;
  txn.value = to_value(trail, text);
  compare.key = txn.key;
  txn.compares.push_back(std::move(compare));
  auto written = co_await store_.transact(std::move(txn), deadline);
  if (!written) {
    co_return fail(written.error().within(may_have_been_done(written.error())
                                              ? "etcd: outcome unknown: document " + name +
                                                    " may or may not have been written"
                                              : what));
  }
  if (written->ours) {
    BoardDocument document{std::move(name), std::move(text), to_text(written->revision, trail)};
    co_return BoardWrite{true, std::move(document)};
  }
  if (!written->there) co_return BoardWrite{};
  auto there = to_document(*written->there, name);
  if (!there) co_return fail(std::move(there.error()));
  // Ours, if it was sent twice.
  const auto revision = parse_revision(there->revision);
  const bool ours = revision && has_board_mark(revision->trail, *mark);
  co_return BoardWrite{ours, std::move(*there)};
}

Task<Result<BoardWrite>> EtcdBoard::put_if_absent(std::string name, std::string text,
                                                  TimePoint deadline) {
  EtcdCompare absent;
  absent.create_revision = 0;
  return write(std::move(name), std::move(text), std::move(absent), "", deadline);
}

Task<Result<BoardWrite>> EtcdBoard::replace(std::string name, std::string text,
                                            std::string revision, TimePoint deadline) {
  auto old = parse_revision(revision);
  if (!old) co_return fail(bad_revision(name));
  EtcdCompare unchanged;
  unchanged.mod_revision = old->number;
  co_return co_await write(std::move(name), std::move(text), std::move(unchanged),
                           std::move(old->trail), deadline);
}

Task<Result<BoardWrite>> EtcdBoard::remove(std::string name, std::string revision,
                                           TimePoint deadline) {
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  const auto old = parse_revision(revision);
  if (!old) co_return fail(bad_revision(name));
  const std::string what = "etcd: document " + name + " could not be removed";
  if (auto ok = co_await may_write(deadline); !ok) co_return fail(ok.error().within(what));
  EtcdPutIf txn;
  txn.key = documents_ + name;
  txn.remove = true;
  EtcdCompare& unchanged = txn.compares.emplace_back();
  unchanged.key = txn.key;
  unchanged.mod_revision = old->number;
  auto removed = co_await store_.transact(std::move(txn), deadline);
  if (!removed) {
    co_return fail(removed.error().within(may_have_been_done(removed.error())
                                              ? "etcd: outcome unknown: document " + name +
                                                    " may or may not have been removed"
                                              : what));
  }
  if (removed->ours || !removed->there) co_return BoardWrite{true, std::nullopt};
  auto there = to_document(*removed->there, name);
  if (!there) co_return fail(std::move(there.error()));
  co_return BoardWrite{false, std::move(*there)};
}

Task<Result<BoardPage>> EtcdBoard::list(std::string prefix, std::string after, size_t limit,
                                        TimePoint deadline) {
  if (auto ok = check_board_prefix(prefix); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "etcd: documents " + prefix + "* could not be listed";
  if (auto ok = co_await store_.registry_.identify(deadline); !ok) {
    co_return fail(ok.error().within(what));
  }
  const std::string end = end_of_board_prefix(prefix);
  EtcdRange range(std::max(prefix, after.empty() ? after : after + kBeforeAll));
  if (range.key >= end) co_return BoardPage{};
  range.key = documents_ + range.key;
  range.range_end = documents_ + end;
  range.limit = static_cast<int64_t>(std::clamp<size_t>(limit, 1, kMaxBoardPage));
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.max_response = kMaxEtcdReply;
  auto answer = co_await store_.client_.call(call, deadline);
  // etcd's gateway carries four megabytes.
  while (!answer && answer.error().too_large && range.limit > 1) {
    range.limit /= 2;
    call.body = to_json(range);
    answer = co_await store_.client_.call(call, deadline);
  }
  if (!answer) co_return fail(answer.error().error.within(what));
  BoardPage page;
  std::string last;
  for (const EtcdKeyValue& kv : answer->kvs) {
    if (!kv.key.starts_with(documents_)) continue;
    last = kv.key.substr(documents_.size());
    auto document = to_document(kv, last);
    if (document) {
      page.documents.push_back(std::move(*document));
    } else {
      page.corrupt.push_back(last);
    }
  }
  if (answer->more && !last.empty()) page.next = std::move(last);
  co_return page;
}

Task<void> EtcdBoard::watch(BoardListener& listener) {
  EtcdBoardWatch watch(store_.client_, store_.identity_, documents_, listener);
  co_await watch.run();
}

Task<std::vector<CheckItem>> EtcdBoard::check(TimePoint deadline) {
  // etcd asks for the permission of all that a transaction might do; this one does nothing.
  EtcdPutIf txn;
  txn.key = documents_ + "check/check";
  txn.value = "{}";
  EtcdCompare& never = txn.compares.emplace_back();
  never.key = store_.registry_.key();
  never.create_revision = 0;
  Result<EtcdStore::Written> tried;
  if (auto ok = co_await store_.registry_.identify(deadline); !ok) {
    tried = fail(std::move(ok.error()));
  } else {
    tried = co_await store_.transact(std::move(txn), deadline);
  }
  CheckItem item{"board", tried.has_value(), "may be written, under " + documents_, "", false};
  if (!tried) {
    item.detail = tried.error().message;
    item.remedy = tried.error().code == Code::kDenied
                      ? "grant readwrite on all keys that begin with " + documents_ +
                            "; without it keys are served, and not rotated over several hosts"
                      : "see the reason";
  }
  std::vector<CheckItem> items;
  items.push_back(std::move(item));
  co_return items;
}

}  // namespace keyfs
