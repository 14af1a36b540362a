// The operator's requests to a DynamoDB store: keyfs check, with or without --create-table.
#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/aws/endpoint.h"
#include "base/config_reader.h"
#include "store/dynamodb/store.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPoll = 1s;
constexpr const char* kProbeId = ".keyfs-check";

constexpr const char* kAddReplica =
    "add a replica of the global table in that region, or remove the region from [store] regions";

std::string remedy_for(const Error& error, const std::string& action) {
  if (is_missing_table(error)) return kAddReplica;  // at home: see check()
  switch (error.code) {
    case Code::kDenied:
      return "allow " + action + " on the table for keyfs's role";
    case Code::kUnauthenticated:
      return "fix the credentials";
    case Code::kThrottled:
      return "raise the table's capacity, or switch it to on-demand";
    case Code::kUnavailable:
    case Code::kTimeout:
      return "make sure that this host can reach the region's endpoint";
    default:
      return "see the reason";
  }
}

CheckItem to_item(std::string what, const std::string& action, const Result<void>& result,
                  std::string detail) {
  if (result) return {std::move(what), true, std::move(detail), ""};
  return {std::move(what), false, result.error().message, remedy_for(result.error(), action)};
}

// Keys are served without it, and an operator should know.
CheckItem advice(std::string what, bool on) {
  if (on) return {std::move(what), true, "on", ""};
  return {std::move(what), true, "off", "turning it on is recommended"};
}

template <class T>
Result<void> without_value(const Result<T>& result) {
  if (!result) return fail(result.error());
  return {};
}

}  // namespace

void DynamoDbStore::check_topology(const Result<Topology>& topology, StoreCheck& check) const {
  if (!topology) {
    check.items.push_back({"table", false, topology.error().message,
                           remedy_for(topology.error(), "dynamodb:DescribeTable")});
    return;
  }
  if (topology->why_unknown) {
    check.items.push_back({"table", false, topology->why_unknown->message,
                           "list only regions with replicas of one Global Table"});
    return;
  }
  const std::string& home = replicas_[0]->region();
  std::string detail = "new keys are created in " + home + " alone";
  if (topology->mode == Mode::kAnyDecides) detail = "new keys are created in any region";
  check.items.push_back({"table " + names_.table, true, detail, ""});
  for (size_t i = 1; i < replicas_.size(); ++i) {
    if (topology->replica[i]) continue;
    check.items.push_back(
        {"replica " + replicas_[i]->region(), false,
         "the table in " + home + " has no replica there; this region is not used", kAddReplica,
         false});
  }
}

Task<StoreCheck> DynamoDbStore::check(TimePoint deadline) {
  StoreCheck check;
  const auto topology = co_await describe(deadline);
  if (!topology || topology->why_unknown) {
    // Without a table at home, everything else would only fail for that reason.
    const TimePoint until = std::min(deadline, loop_.now() + 5s);
    const auto home = co_await replicas_[0]->describe(until);
    if (!home && is_missing_table(home.error())) {
      std::string remedy = "keyfs check --create-table creates it";
      if (replicas_.size() > 1) remedy += "; add its replicas in the other regions yourself";
      check.items.push_back({"table", false, home.error().message, std::move(remedy)});
      co_return check;
    }
  }
  check_topology(topology, check);
  // Other failures are reported below, by the failing call.
  const auto known = co_await establish(std::min(deadline, loop_.now() + 5s));
  if (known) {
    check.items.push_back({"identity", true, "is store " + store_id_, ""});
  } else if (refused_ || known.error().code == Code::kCorrupt) {
    check.items.push_back(
        {"identity", false, known.error().message, "find out which table this is"});
  }
  bool home_answers = false;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    // A region without a replica is not used, and was told above.
    if (topology && topology->mode != Mode::kUnknown && !topology->replica[i]) continue;
    DynamoDbReplica& replica = *replicas_[i];
    const std::string& region = replica.region();
    const TimePoint until = std::min(deadline, loop_.now() + 5s);
    const TimePoint begin = loop_.now();
    // keyfs works without the regions that are not home, if less well.
    const auto add = [&](CheckItem item) {
      item.essential = i == 0;
      check.items.push_back(std::move(item));
    };
    const auto got = co_await replica.get(kProbeId, true, until);
    add(to_item(region + " may read", "dynamodb:GetItem", without_value(got),
                "took " + to_text(loop_.now() - begin)));
    if (i == 0) home_answers = got || got.error().code == Code::kDenied;
    if (!got && is_missing_table(got.error())) continue;
    if (!got && got.error().code != Code::kDenied) continue;  // the rest would fail the same way
    const auto scanned = co_await replica.scan("", 1, "", until);
    add(to_item(region + " may list", "dynamodb:Scan", without_value(scanned), "permitted"));
    // A region that is never written to needs no permission.
    if (i > 0 && (!topology || topology->mode != Mode::kAnyDecides)) continue;
    const auto put = co_await replica.try_put(until);
    add(to_item(region + " may create", "dynamodb:PutItem", put, "permitted"));
    const auto updated = co_await replica.try_update(until);
    add(to_item(region + " may change", "dynamodb:UpdateItem", updated, "permitted"));
    auto removed = to_item(region + " may take back", "dynamodb:DeleteItem",
                           co_await replica.try_remove(until), "permitted");
    removed.essential = false;  // only of what went into a table that was made anew
    check.items.push_back(std::move(removed));
    if (i > 0) continue;
    if (const auto description = co_await replica.describe(until); description) {
      check.items.push_back(advice("deletion protection", description->deletion_protection));
    }
    if (const auto recovery = co_await replica.is_protected_by_recovery(until); recovery) {
      check.items.push_back(advice("point-in-time recovery", *recovery));
    } else {
      check.items.push_back(
          {"point-in-time recovery", true, "unknown: " + recovery.error().message, ""});
    }
  }
  if (home_answers) {
    auto board = co_await board_->check(deadline);
    std::move(board.begin(), board.end(), std::back_inserter(check.items));
  }
  co_return check;
}

Task<Result<TableMade>> DynamoDbStore::make_table(TimePoint deadline) {
  auto made = co_await make_records_table(deadline);
  if (!made) co_return made;
  const auto board = co_await board_->make_table(deadline);
  if (board) {
    made->done += "; " + *board;
    co_return made;
  }
  const Error error = board.error().within(
      "the board's table could not be created, so keys are not rotated over several hosts");
  made->missing =
      made->missing ? Error(error.code, made->missing->message + "; " + error.message) : error;
  co_return made;
}

Task<Result<TableMade>> DynamoDbStore::make_records_table(TimePoint deadline) {
  DynamoDbReplica& home = *replicas_[0];
  const std::string name = "table " + names_.table + " in " + home.region();
  auto description = co_await home.describe(deadline);
  if (description) {
    if (!description->key_is_id) {
      co_return fail(Code::kInvalid, name + " exists, but does not belong to keyfs");
    }
    co_return TableMade{name + " already exists; nothing was changed", std::nullopt};
  }
  if (description.error().code != Code::kDenied) co_return fail(description.error());
  if (auto begun = co_await home.create_table(deadline); !begun) {
    co_return fail(begun.error().within("could not create the table"));
  }
  for (;;) {
    description = co_await home.describe(deadline);
    if (description && description->active) break;
    // It may take a moment until a new table is known everywhere.
    if (loop_.now() + kPoll >= deadline) {
      co_return fail(Code::kTimeout, name + " is being created, but was not ready in time");
    }
    co_await loop_.sleep_for(kPoll);
  }
  TableMade made{name + " was created: on-demand, with deletion protection", std::nullopt};
  if (auto ok = co_await home.protect_by_recovery(deadline); ok) {
    made.done += " and point-in-time recovery";
  } else {
    made.missing =
        ok.error().within("point-in-time recovery of " + name + " could not be turned on");
  }
  if (replicas_.size() > 1) made.done += "; add its replicas in the other regions yourself";
  co_return made;
}

Result<std::unique_ptr<Store>> make_dynamodb_store(const ConfigSection& section,
                                                   const DynamoDbParts& parts) {
  ConfigReader in(section);
  in.required("type");
  DynamoDbNames names;
  names.table = in.required("table");
  names.accept_rkms_records = in.boolean("accept_rkms_records", false);
  const auto regions = in.required_list("regions");
  const auto endpoints = in.list("endpoint");
  const bool allow_plain_http = in.boolean("allow_plain_http", false);
  const std::string profile = in.string("profile", "");
  const std::string role_arn = in.string("role_arn", "");
  for (const auto& region : regions) {
    if (!is_aws_region_name(region))
      in.mistake("regions", region + " is not the name of an AWS region");
  }
  if (endpoints.size() > 1 && endpoints.size() != regions.size()) {
    in.mistake("endpoint", "has " + std::to_string(endpoints.size()) + " endpoints for " +
                               std::to_string(regions.size()) +
                               " regions; give one, or one for each");
  }
  if (auto ok = in.finish(); !ok) return fail(std::move(ok.error()));

  AwsCredentialProvider& credentials = parts.credentials(profile, role_arn);
  if (allow_plain_http) credentials.allow_plain_http();
  std::vector<std::unique_ptr<DynamoDbReplica>> replicas;
  for (size_t i = 0; i < regions.size(); ++i) {
    std::string configured;
    if (!endpoints.empty()) configured = endpoints[endpoints.size() == 1 ? 0 : i];
    auto endpoint =
        aws_endpoint("dynamodb", regions[i], configured, parts.environment, allow_plain_http);
    if (!endpoint) return fail(section.mistake("endpoint", endpoint.error().message));
    replicas.push_back(std::make_unique<DynamoDbReplica>(parts.http, credentials, regions[i],
                                                         std::move(*endpoint), names));
  }
  std::string known;
  if (!parts.state_dir.empty()) {
    auto name = read_known_store(parts.state_dir);
    if (!name) return fail(std::move(name.error()));
    if (*name) known = (*name)->id;
  }
  return std::make_unique<DynamoDbStore>(parts.loop, parts.random, std::move(names),
                                         std::move(replicas), parts.state_dir, std::move(known));
}

}  // namespace keyfs
