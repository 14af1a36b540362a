// The cost of the individual parts of a read, with Google Benchmark.
//
//   KeyCache/peek      a cached key, by 1, 2 and 4 threads: of one id, and of 10,000
//   Policy/decide      section and verdict of a known entry; of a new id against 1 and 100
//                      sections
//   Audit/write        one event handed to the writer's ring
//   Audit/line         the line of an event, which the writer's thread makes
//   SecretArena/cycle  a slot of 32 bytes taken, and given back wiped
//   Record/parse       a record with three regions' wraps, from JSON; and to_json
//   AwsSigner/sign     Signature Version 4 of a Decrypt, the day's key derived already
//   SingleFlight/join  1 and 1,000 waiters of one flight
//   Crypto             unwrap (AES-256-GCM) and the key check value
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aws/signer.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/secret.h"
#include "fs/audit/audit.h"
#include "fs/audit/audit_line.h"
#include "fs/keys/key_cache.h"
#include "fs/mount/key_words.h"
#include "fs/policy/policy.h"
#include "store/record.h"

namespace {

using namespace keyfs;

class NullLogSink final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

class NullAuditSink final : public AuditSink {
 public:
  LineFile::Written write(std::string_view lines) override {
    return {static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')), std::nullopt};
  }
  Result<void> reopen() override { return {}; }
};

std::unique_ptr<const Policy> policy_of(size_t sections) {
  std::string text;
  for (size_t i = 1; i < sections; ++i) {
    text += "[keys team-" + std::to_string(i) + "-*]\nread = uid:" + std::to_string(i) + "\n";
  }
  text += "[keys *]\nread = uid:1000, gid:2000\ncreate = uid:1000\n";
  SystemNames names;
  return std::move(*Policy::load(*ConfigFile::parse(text, "bench.ini"), names));
}

SharedKey key_of(SecretArena& arena) {
  auto key = std::make_shared<DataKey>();
  OsRandom random;
  key->key = std::move(*random.secret(arena, 32));
  key->version = 1;
  return key;
}

struct CachedKeys {
  SecretArena arena;
  KeyCache cache{CacheOptions{}};
  std::vector<KeyRef> refs;
  SystemClock clock;

  explicit CachedKeys(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      refs.push_back(cache.acquire("key-" + std::to_string(i)));
      cache.put(*refs.back(), key_of(arena), clock.now(), cache.epoch());
    }
  }
};

void key_cache_peek(benchmark::State& state) {
  static const auto one = std::make_unique<CachedKeys>(1);
  static const auto many = std::make_unique<CachedKeys>(10'000);
  CachedKeys& keys = state.range(0) == 1 ? *one : *many;
  const TimePoint now = keys.clock.now();
  size_t next = static_cast<size_t>(state.thread_index()) * 1237;
  for (auto _ : state) {
    next = (next + 1) % keys.refs.size();
    benchmark::DoNotOptimize(keys.cache.peek(*keys.refs[next], now));
  }
}
BENCHMARK(key_cache_peek)->Name("KeyCache/peek")->Arg(1)->Arg(10'000)->ThreadRange(1, 4);

void policy_decide_entry(benchmark::State& state) {
  const auto policy = policy_of(100);
  CachedKeys keys(1);
  KnownGroups groups;
  for (auto _ : state) {
    const PolicySection& section = section_of(*keys.refs[0], *policy);
    benchmark::DoNotOptimize(Policy::decide(section, {1000, 1000}, groups));
  }
}
BENCHMARK(policy_decide_entry)->Name("Policy/decide/known_entry");

void policy_decide_id(benchmark::State& state) {
  const auto policy = policy_of(static_cast<size_t>(state.range(0)));
  KnownGroups groups;
  for (auto _ : state) benchmark::DoNotOptimize(policy->decide("orders-eu", {1000, 1000}, groups));
}
BENCHMARK(policy_decide_id)->Name("Policy/decide/new_id")->Arg(1)->Arg(100);

AuditEvent event_of(const CachedKeys& keys, const PolicySection& section) {
  static const auto process = [] {
    ProcessInfo info{4711, "/usr/bin/cat", "/user.slice/user-1000.slice"};
    info.described = audit_fields(info);
    return std::make_shared<const ProcessInfo>(std::move(info));
  }();
  AuditEvent event;
  event.time = keys.clock.wall();
  event.key = keys.refs[0];
  event.process = process;
  event.section = &section;
  event.uid = event.gid = 1000;
  event.version = 1;
  event.verdict = AuditVerdict::kAllowed;
  event.source = KeySource::kCache;
  return event;
}

void audit_write(benchmark::State& state) {
  NullLogSink log_sink;
  CachedKeys keys(1);
  Log log(log_sink, keys.clock);
  const auto policy = policy_of(1);
  const PolicySection& section = policy->section_for("key-0");
  Audit::Options options;
  options.ring = 1u << 20;
  Audit audit(std::make_unique<NullAuditSink>(), log, keys.clock, options);
  for (auto _ : state) audit.write(event_of(keys, section));
  audit.flush();
  state.counters["lost"] = static_cast<double>(audit.status().lost);
}
BENCHMARK(audit_write)->Name("Audit/write")->Iterations(500'000);

void audit_line(benchmark::State& state) {
  CachedKeys keys(1);
  const auto policy = policy_of(1);
  const AuditEvent event = event_of(keys, policy->section_for("key-0"));
  std::string line;
  for (auto _ : state) {
    line.clear();
    append_audit_line(line, event);
    benchmark::DoNotOptimize(line.data());
  }
}
BENCHMARK(audit_line)->Name("Audit/line");

void secret_arena_cycle(benchmark::State& state) {
  SecretArena arena;
  const auto keep = arena.allocate(32);  // so that the slab stays
  for (auto _ : state) {
    auto secret = arena.allocate(32);
    benchmark::DoNotOptimize(secret->reveal_mutable().data());
  }
}
BENCHMARK(secret_arena_cycle)->Name("SecretArena/cycle");

Record record_of() {
  Record record;
  record.id = "orders";
  record.current = 1;
  Version& version = record.versions[1];
  version.created = "2026-01-01T00:00:00Z";
  version.creator = "host-a";
  version.bytes = 32;
  version.check = KeyCheck{};
  for (const std::string region : {"us-east-1", "us-west-2", "eu-central-1"}) {
    version.wrapped[region] = {"arn:aws:kms:" + region + ":111122223333:key/" + region,
                               std::string(184, 'b'), "2026-01-01T00:00:00Z", ""};
  }
  return record;
}

void record_parse(benchmark::State& state) {
  const std::string text = *to_json(record_of());
  for (auto _ : state) benchmark::DoNotOptimize(parse_record(text, "orders"));
  state.counters["bytes"] = static_cast<double>(text.size());
}
BENCHMARK(record_parse)->Name("Record/parse");

void record_write(benchmark::State& state) {
  const Record record = record_of();
  for (auto _ : state) benchmark::DoNotOptimize(to_json(record));
}
BENCHMARK(record_write)->Name("Record/to_json");

void aws_sign(benchmark::State& state) {
  SecretArena arena;
  SystemClock clock;
  auto credentials = std::make_shared<AwsCredentials>();
  credentials->access_key_id = "AKIDBENCH";
  credentials->secret_access_key = std::move(*arena.copy_of("secret"));
  AwsSigner signer(arena, "us-east-1", "kms");
  for (auto _ : state) {
    HttpRequest request("POST", "https://kms.us-east-1.amazonaws.com/", TimePoint::max());
    request.headers = {{"Content-Type", "application/x-amz-json-1.1"},
                       {"X-Amz-Target", "TrentService.Decrypt"}};
    request.body.assign(500, 'x');
    benchmark::DoNotOptimize(signer.sign(request, credentials, clock.wall()));
  }
}
BENCHMARK(aws_sign)->Name("AwsSigner/sign");

void single_flight_join(benchmark::State& state) {
  SystemClock clock;
  IdlePoller poller;
  Loop loop(clock, poller);
  SingleFlight<int> flights(loop);
  const auto work = [](SingleFlight<int>::Flight&) -> Task<int> { co_return 1; };
  const auto all = [&](int64_t waiters) -> Task<int> {
    TaskGroup<int> group(loop);
    for (int64_t i = 0; i < waiters; ++i) group.start(flights.join("orders", work));
    int sum = 0;
    while (!group.empty()) sum += (co_await group.next())->value;
    co_return sum;
  };
  for (auto _ : state) benchmark::DoNotOptimize(loop.run_task(all(state.range(0))));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(single_flight_join)->Name("SingleFlight/join")->Arg(1)->Arg(1000);

void crypto_open(benchmark::State& state) {
  SecretArena arena;
  OsRandom random;
  const Sha256 master = *sha256(bytes_of("master"));
  const auto sealed = *aes_256_gcm_seal(master, bytes_of("context"), *sha256({}), random);
  for (auto _ : state) {
    benchmark::DoNotOptimize(aes_256_gcm_open(arena, master, bytes_of("context"), sealed));
  }
}
BENCHMARK(crypto_open)->Name("Crypto/unwrap");

void crypto_check(benchmark::State& state) {
  const Sha256 key = *sha256(bytes_of("key"));
  for (auto _ : state) benchmark::DoNotOptimize(key_check_value(key, "orders", 1));
}
BENCHMARK(crypto_check)->Name("Crypto/key_check");

}  // namespace

BENCHMARK_MAIN();
