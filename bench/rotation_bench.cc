// Rotation over many hosts, simulated: the real agents, lock and runner of as many hosts as wanted,
// on one board in memory whose calls take a while, in time that jumps. What is counted is what the
// board would be asked, in DynamoDB's units.
//
//   rotation_bench idle --hosts 1000 --minutes 10 [--runners 1000]
//   rotation_bench run --consumers 1000 --hosts 100 [--keys 6] [--parallel 1] [--hook-ms 100]
//
// Prints one JSON object: what was asked, how long it took in simulated and in real time.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fs/rotation/rotation.h"
#include "fs/rotation/runs.h"
#include "fs/rotation/tickets.h"
#include "support/fake_random.h"
#include "support/fake_time.h"
#include "support/memory_board.h"

namespace {

using namespace keyfs;
using namespace std::chrono_literals;

constexpr Duration kCall = 5ms;  // of the board
constexpr const char* kRun = "run-00000001";

class NoLog final : public LogSink {
 public:
  void write(LogLevel /*level*/, std::string_view /*line*/) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

// What all hosts have asked of the board.
struct Asked {
  uint64_t pulse_looks = 0;
  uint64_t lock_looks = 0;
  uint64_t reads = 0;  // the others, strongly consistent or not
  uint64_t writes = 0;
  uint64_t lists = 0;
  double read_units = 0;
  double write_units = 0;
};

double units(size_t bytes, size_t each) {
  return static_cast<double>(std::max<size_t>(1, (bytes + each - 1) / each));
}

// As DynamoDB charges: 4 KiB for a read unit, half of it if the answer may be old; 1 KiB for a write.
class CountedBoard final : public Board {
 public:
  CountedBoard(Loop& loop, std::shared_ptr<MemoryDocuments> documents, Asked& asked)
      : loop_(loop), real_(loop, std::move(documents)), asked_(asked) {}

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override {
    ++asked_.reads;
    return read(std::move(name), deadline, 1);
  }
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override {
    const bool pulse = name.starts_with("pulse-");
    ++(pulse ? asked_.pulse_looks : name == kHeadName ? asked_.lock_looks : asked_.reads);
    return read(std::move(name), deadline, 0.5);
  }
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override {
    const size_t bytes = name.size() + text.size();
    return write(bytes, real_.put_if_absent(std::move(name), std::move(text), deadline));
  }
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override {
    const size_t bytes = name.size() + text.size();
    return write(bytes,
                 real_.replace(std::move(name), std::move(text), std::move(revision), deadline));
  }
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override {
    return write(1, real_.remove(std::move(name), std::move(revision), deadline));
  }
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override {
    ++asked_.lists;
    co_await loop_.sleep_for(kCall);
    auto page = co_await real_.list(std::move(prefix), std::move(after), limit, deadline);
    size_t bytes = 0;
    if (page) {
      for (const BoardDocument& one : page->documents) bytes += one.name.size() + one.text.size();
    }
    asked_.read_units += units(bytes, 4096);
    co_return page;
  }
  Task<std::vector<CheckItem>> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  Task<Result<std::optional<BoardDocument>>> read(std::string name, TimePoint deadline,
                                                  double each) {
    co_await loop_.sleep_for(kCall);
    auto got = co_await real_.get(std::move(name), deadline);
    asked_.read_units += each * units(got && *got ? (*got)->text.size() : 0, 4096);
    co_return got;
  }
  Task<Result<BoardWrite>> write(size_t bytes, Task<Result<BoardWrite>> real) {
    ++asked_.writes;
    asked_.write_units += units(bytes, 1024);
    co_await loop_.sleep_for(kCall);
    co_return co_await std::move(real);
  }

  Loop& loop_;
  MemoryBoard real_;
  Asked& asked_;
};

struct World {
  World() : log(sink, time.clock) {}

  testing::FakeTimeLoop time;
  std::shared_ptr<MemoryDocuments> documents = std::make_shared<MemoryDocuments>();
  Asked asked;
  NoLog sink;
  Log log;
  FakeRandom random;
  std::map<std::string, uint32_t> current;  // versions of keys
  uint64_t hooks = 0;
  size_t running = 0;
  size_t most_running = 0;
  Duration hook = 100ms;
  RotationOptions options;
};

// Its consumers use every key, and take new versions well.
class Host final : public HostConsumers, public HostKeys, public Refresher, public KeyChanger {
 public:
  Host(World& world, std::string name, size_t consumers, bool may_run)
      : world_(world),
        board_(world.time.loop, world.documents, world.asked),
        consumers_(consumers) {
    RotationOptions options = world.options;
    options.host = std::move(name);
    options.run = may_run;
    auto made = Rotation::make(world.time.loop, board_, world.log, world.random,
                               {*this, *this, *this, *this}, options);
    if (!made) std::abort();
    rotation_ = std::move(*made);
    world.time.loop.spawn(rotation_->run());
  }

  std::vector<ConsumerToTell> to_tell(const std::vector<KeyVersion>& keys) override {
    std::vector<ConsumerToTell> all(consumers_);
    for (size_t i = 0; i < consumers_; ++i) {
      all[i].name = "consumer-" + std::to_string(i);
      for (size_t key = 0; key < keys.size(); ++key) all[i].keys.push_back(key);
    }
    return all;
  }
  std::set<std::string> keys_in_use() override {
    std::set<std::string> ids;
    if (consumers_ == 0) return ids;
    for (const auto& [id, version] : world_.current) ids.insert(id);
    return ids;
  }
  Task<Result<bool>> serves(KeyVersion /*key*/, TimePoint /*deadline*/) override {
    co_await world_.time.loop.sleep_for(1ms);
    co_return true;
  }
  Task<RefreshOutcome> refresh(RefreshRequest /*request*/) override {
    ++world_.hooks;
    world_.most_running = std::max(world_.most_running, ++world_.running);
    co_await world_.time.loop.sleep_for(world_.hook);
    --world_.running;
    RefreshOutcome outcome;
    outcome.what = RefreshOutcome::What::kOk;
    co_return outcome;
  }
  Task<Result<Promotion>> rotate(std::string id, std::string /*token*/) override {
    co_await world_.time.loop.sleep_for(50ms);
    co_return promoted(id, world_.current[id] + 1);
  }
  Task<Result<Promotion>> promote(std::string id, uint32_t version,
                                  std::optional<uint32_t> /*instead_of*/) override {
    co_await world_.time.loop.sleep_for(50ms);
    co_return promoted(id, version);
  }

 private:
  Promotion promoted(const std::string& id, uint32_t version) {
    Promotion promotion;
    promotion.outcome = Promotion::Outcome::kPromoted;
    promotion.made = true;
    promotion.before = world_.current[id];
    promotion.version = promotion.current = world_.current[id] = version;
    return promotion;
  }

  World& world_;
  CountedBoard board_;
  const size_t consumers_;
  std::unique_ptr<Rotation> rotation_;
};

Task<int> pass(Loop& loop, Duration time) {
  co_await loop.sleep_for(time);
  co_return 0;
}

Task<int> rotate_all(World& world, Board& board) {
  Loop& loop = world.time.loop;
  for (const auto& [id, version] : world.current) {
    Ticket ticket;
    ticket.token = "t-" + id;
    ticket.id = id;
    ticket.by = "bench";
    ticket.asked = to_rfc3339(world.time.clock.wall());
    const auto put =
        co_await put_ticket(board, loop, world.random, std::move(ticket), 1, loop.now() + 10s);
    if (!put) std::abort();
  }
  co_return 0;
}

// Until the run has ended, as somebody sees it who asks each second.
Task<RunDocument> ended(World& world, Board& board) {
  for (;;) {
    const auto there = co_await board.get(run_name(kRun), world.time.loop.now() + 10s);
    if (there && *there) {
      auto run = parse_run((*there)->text);
      if (run && run->state == RunDocument::State::kEnded) co_return std::move(*run);
    }
    co_await world.time.loop.sleep_for(1s);
  }
}

nlohmann::json told(const Asked& asked, Duration simulated, std::clock_t since) {
  return {{"pulse_looks", asked.pulse_looks},
          {"lock_looks", asked.lock_looks},
          {"reads", asked.reads},
          {"writes", asked.writes},
          {"lists", asked.lists},
          {"read_units", asked.read_units},
          {"write_units", asked.write_units},
          {"simulated_seconds", std::chrono::duration<double>(simulated).count()},
          {"cpu_seconds", static_cast<double>(std::clock() - since) / CLOCKS_PER_SEC}};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Simulates rotation over many hosts.");
  app.require_subcommand(1);
  size_t hosts = 100;
  size_t runners = SIZE_MAX;
  size_t consumers = 1000;
  size_t keys = 6;
  unsigned parallel = 1;
  double minutes = 10;
  int64_t hook_ms = 100;
  CLI::App* idle = app.add_subcommand("idle", "counts what hosts ask that have nothing to do");
  CLI::App* run = app.add_subcommand("run", "one run over all consumers");
  for (CLI::App* each : {idle, run}) {
    each->add_option("--hosts", hosts)->check(CLI::Range(1, 200'000));
    each->add_option("--runners", runners, "of the hosts, those that may run rotations");
  }
  idle->add_option("--minutes", minutes)->check(CLI::Range(0.1, 10'000.0));
  run->add_option("--consumers", consumers)->check(CLI::Range(1, 100'000));
  run->add_option("--keys", keys)->check(CLI::Range(1, 100));
  run->add_option("--parallel", parallel)->check(CLI::Range(1, 1000));
  run->add_option("--hook-ms", hook_ms)->check(CLI::Range(0, 30'000));
  CLI11_PARSE(app, argc, argv);

  World world;
  world.hook = std::chrono::milliseconds(hook_ms);
  world.options.runner.parallel = parallel;
  for (size_t i = 0; i < keys; ++i) world.current["key-" + std::to_string(i)] = 1;
  Loop& loop = world.time.loop;
  const std::clock_t begun = std::clock();
  std::vector<std::unique_ptr<Host>> fleet;
  for (size_t i = 0; i < hosts; ++i) {
    const size_t here = consumers / hosts + (i < consumers % hosts ? 1 : 0);
    fleet.push_back(std::make_unique<Host>(world, "host-" + std::to_string(i),
                                           idle->parsed() ? 1 : here, i < runners));
  }
  // Until somebody holds the lock and all are listed.
  loop.run_task(pass(loop, 10min));
  Asked nobody;
  CountedBoard operators(loop, world.documents, nobody);
  world.asked = Asked{};
  const TimePoint from = loop.now();
  nlohmann::json result;
  if (idle->parsed()) {
    const auto time = std::chrono::duration_cast<Duration>(
        std::chrono::duration<double, std::ratio<60>>(minutes));
    loop.run_task(pass(loop, time));
    result = told(world.asked, loop.now() - from, begun);
  } else {
    loop.run_task(rotate_all(world, operators));
    const RunDocument end = loop.run_task(ended(world, operators));
    result = told(world.asked, loop.now() - from, begun);
    result["end"] = to_string(end.end);
    result["ok"] = end.counts.ok;
    result["hooks"] = world.hooks;
    result["most_at_once"] = world.most_running;
    result["parallel"] = parallel;
    result["consumers"] = consumers;
  }
  result["hosts"] = hosts;
  std::printf("%s\n", result.dump().c_str());
  loop.shutdown();
}
