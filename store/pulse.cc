#include "store/pulse.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/siphash.h"
#include "base/strict_json.h"
#include "store/board_marks.h"
#include "store/board_update.h"

namespace keyfs {
namespace {

using nlohmann::json;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string once(const Pulse& pulse) {
  json all = {{"life", pulse.place.life},
              {"serial", pulse.place.serial},
              {"changed", pulse.changed},
              {"tickets", pulse.tickets},
              {"run", pulse.run}};
  if (pulse.overdue != 0) all["overdue"] = pulse.overdue;
  return dump(all);
}

Error damaged() { return Error(Code::kCorrupt, "the pulse on the board is damaged"); }

}  // namespace

std::optional<std::vector<std::string>> Pulse::since(const PulsePlace& seen) const {
  if (seen.life != place.life || seen.serial > place.serial) return std::nullopt;
  const uint64_t missed = place.serial - seen.serial;
  if (missed > changed.size()) return std::nullopt;
  const std::set<std::string> distinct(changed.end() - static_cast<std::ptrdiff_t>(missed),
                                       changed.end());
  return std::vector<std::string>(distinct.begin(), distinct.end());
}

void Pulse::add(const std::string& id) {
  ++place.serial;
  changed.push_back(id);
  if (changed.size() > kMaxPulseChanges) changed.erase(changed.begin());
}

// Each in a part of its own: a partition of DynamoDB's is for so many readers only.
std::string pulse_name(unsigned shard) { return "pulse-" + std::to_string(shard) + "/now"; }

unsigned pulse_shard(std::string_view host, unsigned shards) {
  return static_cast<unsigned>(SipHash()(host) % std::max(shards, 1u));
}

Result<Pulse> parse_pulse(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed || !parsed->is_object()) return fail(damaged());
  const auto at = [&](const char* name) -> const json* {
    const auto found = parsed->find(name);
    return found == parsed->end() ? nullptr : &*found;
  };
  const auto is_text = [](const json* value) { return value != nullptr && value->is_string(); };
  const auto is_number = [](const json* value) {
    return value != nullptr && value->is_number_unsigned();
  };
  const json* life = at("life");
  const json* serial = at("serial");
  const json* changed = at("changed");
  const json* tickets = at("tickets");
  const json* run = at("run");
  const json* overdue = at("overdue");
  if (!is_text(life) || !is_number(serial) || !is_number(tickets) || !is_text(run) ||
      changed == nullptr || !changed->is_array() || changed->size() > kMaxPulseChanges) {
    return fail(damaged());
  }
  Pulse pulse;
  pulse.place = {life->get<std::string>(), serial->get<uint64_t>()};
  pulse.tickets = tickets->get<uint64_t>();
  pulse.run = run->get<std::string>();
  if (is_number(overdue)) pulse.overdue = overdue->get<uint64_t>();
  for (const json& id : *changed) {
    if (!id.is_string()) return fail(damaged());
    pulse.changed.push_back(id.get<std::string>());
  }
  if (pulse.place.life.empty() || pulse.changed.size() > pulse.place.serial) {
    return fail(damaged());
  }
  return pulse;
}

std::string to_text(Pulse pulse) {
  std::string text = once(pulse);
  while (text.size() > kMaxPulseBytes && !pulse.changed.empty()) {
    pulse.changed.erase(pulse.changed.begin());
    text = once(pulse);
  }
  return text;
}

Task<Result<void>> tell_pulse(Board& board, Loop& loop, Random& random, PulseNews news,
                              unsigned shards, TimePoint deadline) {
  for (unsigned shard = 0; shard < std::max(shards, 1u); ++shard) {
    const auto life = new_board_mark(random);
    if (!life) co_return fail(life.error());
    ChangeDocument change = [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
      Pulse pulse;
      pulse.place.life = *life;
      bool same = there != nullptr && news.changed.empty() && news.tickets == 0;
      if (there != nullptr) {
        if (auto old = parse_pulse(there->text); old) {
          pulse = std::move(*old);
        } else {
          same = false;  // one that is damaged is made anew, and all hear of a gap
        }
      }
      for (const std::string& id : news.changed) pulse.add(id);
      pulse.tickets += news.tickets;
      if (news.run && pulse.run != *news.run) {
        pulse.run = *news.run;
        same = false;
      }
      if (news.overdue && pulse.overdue != *news.overdue) {
        pulse.overdue = *news.overdue;
        same = false;
      }
      if (same) return std::nullopt;
      if (news.may_write) {
        if (auto ok = news.may_write(); !ok) return fail(ok.error());
      }
      return to_text(std::move(pulse));
    };
    auto told =
        co_await update_document(board, loop, pulse_name(shard), std::move(change), deadline);
    if (!told) co_return fail(told.error().within("the pulse could not be changed"));
  }
  co_return Result<void>();
}

}  // namespace keyfs
