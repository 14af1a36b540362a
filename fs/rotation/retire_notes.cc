#include "fs/rotation/retire_notes.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/strict_json.h"
#include "fs/policy/key_id.h"
#include "fs/rotation/json_fields.h"

namespace keyfs {
namespace {

using nlohmann::json;

Task<Result<void>> settle_word(Board& board, Loop& loop, RetireWord word,
                               std::function<Result<void>()> may_write, TimePoint deadline) {
  const std::string name = retire_name(word.note.id);
  for (;;) {
    auto there = co_await board.get(name, deadline);
    if (!there) co_return fail(there.error());
    if (*there) {
      // One that is damaged says nothing.
      const auto old = parse_retire_note((*there)->text);
      if (old && (is_later_run(old->run, word.note.run) || (word.whole && *old == word.note))) {
        co_return Result<void>();
      }
    } else if (!word.whole) {
      co_return Result<void>();
    }
    if (may_write) {
      if (auto ok = may_write(); !ok) co_return ok;
    }
    auto writing = !*there ? board.put_if_absent(name, to_text(word.note), deadline)
                   : word.whole
                       ? board.replace(name, to_text(word.note), (*there)->revision, deadline)
                       : board.remove(name, (*there)->revision, deadline);
    auto written = co_await std::move(writing);
    if (!written) co_return fail(written.error());
    if (written->done) co_return Result<void>();
    if (loop.now() >= deadline) co_return fail(Code::kTimeout, "others keep changing " + name);
  }
}

}  // namespace

std::string retire_name(const std::string& id) { return kRetirePrefix + id; }

Result<RetireNote> parse_retire_note(std::string_view text) {
  const Error damaged(Code::kCorrupt, "what is noted of old versions is damaged");
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged);
  JsonFields fields(*parsed);
  RetireNote note;
  fields.text("id", note.id);
  fields.number("version", note.version);
  fields.text("since", note.since);
  fields.text("run", note.run);
  if (!fields.good() || !is_key_id(note.id) || note.version == 0 || !is_run(note.run)) {
    return fail(damaged);
  }
  return note;
}

std::string to_text(const RetireNote& note) {
  const json out = {
      {"id", note.id}, {"version", note.version}, {"since", note.since}, {"run", note.run}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_later_run(std::string_view run, std::string_view other) {
  if (run.size() != other.size()) return run.size() > other.size();
  return run > other;
}

std::vector<RetireWord> retire_words(const RunDocument& run) {
  std::vector<RetireWord> words;
  const bool told = run.state == RunDocument::State::kEnded && run.all_told();
  for (const size_t place : places_told(run.keys)) {
    const RunKey& key = run.keys[place];
    if (!is_key_id(key.id)) continue;
    RetireWord word;
    word.note = {key.id, key.current, run.ended, run.run};
    word.whole = told && key.current != 0 && key.missing.empty();
    words.push_back(std::move(word));
  }
  return words;
}

Task<Result<void>> note_retirement(Board& board, Loop& loop, RunDocument run,
                                   std::function<bool(const std::string& id)> wanted,
                                   std::function<Result<void>()> may_write, Duration call) {
  const std::vector<RetireWord> words = retire_words(run);
  for (const RetireWord& word : words) {
    if (wanted && !wanted(word.note.id)) continue;
    auto noted = co_await settle_word(board, loop, word, may_write, loop.now() + call);
    if (!noted) {
      co_return fail(noted.error().within("that old versions of key " + word.note.id +
                                          " may be retired could not be noted"));
    }
  }
  co_return Result<void>();
}

}  // namespace keyfs
