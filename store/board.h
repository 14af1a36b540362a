// The board: small documents beside the records, in the same store. Rotation keeps its queue, its
// lock, its runs and the pulse (store/pulse.h) there. A host that does not rotate needs none of it.
//
//   SQLite     a table `board` in the same file, made by the first write
//   DynamoDB   a second table TABLE-board in the home region, that the operator makes
//   etcd       PREFIX/board/NAME
//
// A document is JSON that holds neither keys nor wrapped keys. Its name is PART/REST: a part is
// what is listed together, such as all tickets. Each write gives it a revision that no other write
// has had, not even one of a document of that name which was removed before.
//
// A write whose reply was lost is sent again, and known as one's own even where others have
// replaced the document since (up to seven times). What cannot be known, and callers must be ready
// for:
//   - after an error that says "outcome unknown" the write may have taken effect, or take effect
//     later. Read again; a document that tells who wrote it settles the matter
//   - a put that was sent again may bring back a document that somebody has removed in between. So
//     whoever removes what others put (a ticket) remembers that it is done
//   - of two who remove the same revision both may be told that it is done: to claim something,
//     replace it
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task, and dropping it
// cancels the call, except that a write that was sent may still take effect. Ownership: the store
// owns its board, and outlives the board's tasks. Deadlines: `deadline` bounds the whole call with
// its retries. Errors: of every call kUnavailable, kThrottled, kTimeout, kDenied (no permission, or
// no table: then there is no rotation over several hosts, and all else goes on), kUnauthenticated,
// and kInvalid for a bad name, a document that is too large or no JSON, a store that is another one
// than this host knows. Absence and conflicts are values.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"

namespace keyfs {

inline constexpr size_t kMaxDocumentBytes = size_t{64} << 10;
inline constexpr size_t kMaxBoardNameBytes = 400;
// A page of a list has no more documents, whatever was asked for.
inline constexpr size_t kMaxBoardPage = 256;

struct BoardDocument {
  std::string name;
  std::string text;
  std::string revision;  // opaque
};

struct BoardWrite {
  // Our write took effect.
  bool done = false;
  // What is there now: ours, or what has replaced it by now; if it is not done, what was in its
  // way. nullopt: nothing.
  std::optional<BoardDocument> now;
};

struct BoardPage {
  std::vector<BoardDocument> documents;
  std::vector<std::string> corrupt;  // names of what is there and is no document of this store
  std::optional<std::string> next;   // pass as `after` for the next page; nullopt at the end
};

// Hears of changes, on the loop's thread. What it hears makes things quick, and nothing may depend
// on it: look at the board every so often all the same.
class BoardListener {
 public:
  virtual ~BoardListener() = default;
  // This document was written or removed.
  virtual void on_change(const std::string& name) = 0;
  // Any document may have changed. Every watch begins with this.
  virtual void on_gap() = 0;
};

class Board {
 public:
  virtual ~Board() = default;

  // The result of all writes before the call, or an error. kCorrupt for what is no document of this
  // store.
  virtual Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) = 0;
  // The same from the nearest copy, at the least cost: what it gives, a miss too, may be old.
  virtual Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) = 0;

  // Not done: there is one, or there was a moment ago.
  virtual Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                                 TimePoint deadline) = 0;
  // Not done: it has another revision, or is gone. `revision`: as this board gave it; another text
  // is a conflict, or kInvalid.
  virtual Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                           TimePoint deadline) = 0;
  // Done: there is none now, whoever removed it. Not done: it has another revision.
  virtual Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                          TimePoint deadline) = 0;

  // At most `limit` documents whose names begin with `prefix` ("tickets/", "rows/run-7."), those
  // after the name `after` (empty: from the first), in the order of their bytes. Each page is the
  // result of all writes before the call; what changes between two pages may show in either.
  virtual Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                                       TimePoint deadline) = 0;

  // Whether watch() can announce changes; otherwise peek at the pulse.
  virtual bool can_watch() const { return false; }
  // Announces changes until dropped; reconnects by itself, and so has no errors. Only if
  // can_watch().
  virtual Task<void> watch(BoardListener& listener);

  // For `keyfs check`; leaves nothing behind. No item is essential: keys are served without it.
  virtual Task<std::vector<CheckItem>> check(TimePoint deadline) = 0;
};

// For boards. kInvalid for a name that is not PART/REST: both of letters, digits and `._:@+=,~-`,
// the first of each a letter or a digit; the rest may have further slashes.
Result<void> check_board_name(std::string_view name);
// The same for a list's prefix: PART/ and perhaps the beginning of the rest.
Result<void> check_board_prefix(std::string_view prefix);
// kInvalid for a bad name, or a text that is too large or no JSON.
Result<void> check_board_document(std::string_view name, std::string_view text);
// The least name that is greater than all that begin with `prefix`.
std::string end_of_board_prefix(std::string prefix);

// The item of a board that could not be looked at, or is not there.
CheckItem board_is_off(std::string why, std::string remedy);

}  // namespace keyfs
