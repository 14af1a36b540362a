#include "fs/rotation/refresher.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/lazy_worker.h"
#include "base/race.h"
#include "fs/rotation/heirs.h"
#include "fs/rotation/hook_threads.h"
#include "fs/rotation/process_id.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using What = RefreshOutcome::What;

// After a program's own deadline, so that it is killed, and said to be, first.
constexpr Duration kToKill = 800ms;
constexpr Duration kLookAgain = 250ms;  // whether processes have ended
constexpr Duration kToLookAtAll = 5s;   // at the descriptors of all processes
constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Of a hook: nothing, if it went well.
using Ended = std::optional<RefreshOutcome>;

Ended failed(std::string why) { return RefreshOutcome{What::kFailed, std::move(why)}; }
Ended gone(std::string why) { return RefreshOutcome{What::kGone, std::move(why)}; }

std::string property(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == '=') {
      return std::string(line.substr(name.size() + 1));
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return "";
}

std::string why_of(const std::vector<Consumers::Behind>& missing, Duration within) {
  const Consumers::Behind& first = missing.front();
  const std::string key = first.key + "/" + std::to_string(first.wanted);
  const std::string time = " within " + to_text(within);
  std::string reason;
  if (first.processes == 0) {
    reason = "nobody of it has opened " + key + time;
    if (first.uses != 0) reason += " (version " + std::to_string(first.uses) + " was the last)";
  } else {
    const bool one = first.processes == 1;
    reason = std::to_string(first.processes) + (one ? " process has" : " processes have") +
             " not opened " + key + time + ": pid ";
    for (size_t i = 0; i < first.pids.size(); ++i) {
      reason += (i == 0 ? "" : ", ") + std::to_string(first.pids[i]);
    }
    if (first.processes > first.pids.size()) {
      reason += " and " + std::to_string(first.processes - first.pids.size()) + " more";
    }
  }
  constexpr size_t kMostNamed = 5;
  const size_t named = std::min(missing.size(), kMostNamed);
  for (size_t i = 1; i < named; ++i) {
    reason += (i == 1 ? "; the same of " : ", ") + missing[i].key + "/" +
              std::to_string(missing[i].wanted);
  }
  const size_t others = missing.size() - named;
  if (others != 0) {
    reason += " and " + std::to_string(others) + (others == 1 ? " more key" : " more keys");
  }
  return reason;
}

}  // namespace

std::string_view to_string(RefreshOutcome::What what) {
  switch (what) {
    case What::kOk:
      return "ok";
    case What::kFailed:
      return "failed";
    case What::kGone:
      return "gone";
  }
  return "failed";
}

struct HostRefresher::Impl {
  Impl(Loop& io, CurlPoller& curl, SecretArena& secrets, Consumers& those, Options with)
      : loop(io),
        poller(curl),
        arena(secrets),
        consumers(those),
        options(std::move(with)),
        programs(io, options.programs) {}

  Task<Ended> run(const ConsumerRule& rule, const RefreshRequest& request, TimePoint deadline);
  Task<Ended> signal(const ConsumerRule& rule, const RefreshRequest& request);
  Task<Ended> watch(const ConsumerRule& rule, const RefreshRequest& request);
  Task<Ended> nobody_runs(const RefreshRequest& request, bool section = true);
  Task<Ended> gone_unless_inherited(const RefreshRequest& request, std::string why);
  Task<Ended> unit_is_off(const ConsumerRule& rule, const RefreshRequest& request, std::string load,
                          std::string active, TimePoint deadline);
  Task<Ended> exec(const ConsumerRule& rule, const RefreshRequest& request, TimePoint deadline);
  Task<Ended> systemd(const ConsumerRule& rule, const RefreshRequest& request, TimePoint deadline);
  Task<Ended> http(const ConsumerRule& rule, const RefreshRequest& request, TimePoint deadline);

  Task<Result<HookEnd>> program(std::vector<std::string> arguments,
                                std::vector<std::string> environment, size_t output,
                                TimePoint deadline);
  Result<HttpClient*> http_client();

  Loop& loop;
  CurlPoller& poller;
  SecretArena& arena;
  Consumers& consumers;
  const Options options;
  HookThreads programs;
  LazyWorker processes{loop, "keyfs-processes"};
  std::unique_ptr<HttpClient> client;
};

HostRefresher::HostRefresher(Loop& loop, CurlPoller& poller, SecretArena& arena,
                             Consumers& consumers, Options options)
    : impl_(std::make_unique<Impl>(loop, poller, arena, consumers, std::move(options))) {
  // Reads the system's certificates: here, where nothing is served yet. What fails is told by the
  // first hook that needs it.
  if (consumers.rules().any(RefreshKind::kHttp)) (void)impl_->http_client();
}

HostRefresher::~HostRefresher() = default;

Task<RefreshOutcome> HostRefresher::refresh(RefreshRequest request) {
  Impl& impl = *impl_;
  const ConsumerRule* found = impl.consumers.rules().find(request.consumer);
  RefreshOutcome outcome;
  if (found == nullptr) {
    const Ended ended = co_await impl.nobody_runs(request, false);
    co_return ended.value_or(outcome);
  }
  const ConsumerRule rule = *found;  // others may be loaded meanwhile
  const Duration timeout = std::min<Duration>(request.timeout, rule.timeout);
  const TimePoint deadline = impl.loop.now() + timeout;
  const TimePoint since = impl.consumers.look_closely();
  const Ended ended = co_await impl.run(rule, request, deadline);
  if (ended) co_return *ended;
  if (rule.confirm == Confirm::kOpen) {
    const auto missing =
        co_await impl.consumers.confirmed(request.consumer, request.keys, since, deadline);
    if (!missing.empty()) {
      outcome.why = why_of(missing, timeout);
      co_return outcome;
    }
  }
  outcome.what = What::kOk;
  co_return outcome;
}

Task<Ended> HostRefresher::Impl::run(const ConsumerRule& rule, const RefreshRequest& request,
                                     TimePoint deadline) {
  switch (rule.refresh.kind) {
    case RefreshKind::kSignal:
      co_return co_await signal(rule, request);
    case RefreshKind::kExec:
      co_return co_await exec(rule, request, deadline);
    case RefreshKind::kSystemd:
      co_return co_await systemd(rule, request, deadline);
    case RefreshKind::kHttp:
      co_return co_await http(rule, request, deadline);
    case RefreshKind::kWatch:
      break;
  }
  co_return co_await watch(rule, request);
}

// What no process is left of is gone. A section that was removed, renamed or mistyped since it was
// enrolled has no processes either, while its programs may run still with the old version. Those of
// other sections are no matter of this one.
Task<Ended> HostRefresher::Impl::nobody_runs(const RefreshRequest& request, bool section) {
  if (section && consumers.tells_any(request.consumer, request.keys)) {
    co_return co_await gone_unless_inherited(request, "no process that opened the keys runs");
  }
  const Consumers::Users users = consumers.users_of(request.consumer, request.keys);
  const std::string why = "[consumer " + request.consumer + "] " +
                          (section ? "fits no program that uses the keys any more"
                                   : "is not in keyfs.ini of this host any more");
  if (users.pids.empty() && !users.unknown) {
    std::string none = why + ", and no process of it that opened the keys runs";
    co_return co_await gone_unless_inherited(request, std::move(none));
  }
  std::string who = "programs may run still that use the keys";
  if (!users.pids.empty()) {
    who = "pid " + std::to_string(users.pids.front());
    const size_t others = users.pids.size() - 1;
    if (others != 0) who += " and " + std::to_string(others) + " more";
    who += " that opened the keys " + std::string(others == 0 ? "runs" : "run") + " still";
  }
  co_return failed("not told: " + who + ", and " + why +
                   "; mend it and retry, or mark it as done by hand");
}

// Whoever opened the keys may have left the open file to a child before it ended.
Task<Ended> HostRefresher::Impl::gone_unless_inherited(const RefreshRequest& request,
                                                       std::string why) {
  if (options.mountpoint.empty()) co_return gone(std::move(why));
  const std::function<Result<std::optional<pid_t>>()> work =
      [mountpoint = options.mountpoint, users = consumers.who_used(request.consumer, request.keys),
       openers = consumers.openers_of(request.keys)] {
        return Result<std::optional<pid_t>>(heir_of(mountpoint, users, openers));
      };
  auto looking = processes.run(work);
  const auto heir = co_await before(loop, loop.now() + kToLookAtAll, "looking at all processes",
                                    std::move(looking));
  if (!heir) co_return failed("whether it runs still is not known: " + heir.error().message);
  if (!*heir) co_return gone(std::move(why));
  co_return failed("not told: " + why + ", but pid " + std::to_string(**heir) +
                   " has one of them open, which it inherited: restart it and mark this as done");
}

Task<Ended> HostRefresher::Impl::watch(const ConsumerRule& rule, const RefreshRequest& request) {
  if (consumers.has_unknown_processes(rule.name, request.keys) ||
      !consumers.running(rule.name, request.keys).empty()) {
    co_return std::nullopt;
  }
  co_return co_await nobody_runs(request);
}

Task<Ended> HostRefresher::Impl::signal(const ConsumerRule& rule, const RefreshRequest& request) {
  size_t sent = 0;
  std::string refused;
  for (const Consumers::Running& one : consumers.running(rule.name, request.keys)) {
    // A signal that the program before took for "read your key again" may end this one.
    if (!one.same) {
      refused = "pid " + std::to_string(one.process.pid) +
                " gets no signal: it has opened the keys, and runs another program now (exec): "
                "restart it and mark this as done, or use exec:, systemd: or http:";
      continue;
    }
    switch (send_signal(one.process, one.program, rule.refresh.signal)) {
      case Sent::kSent:
        ++sent;
        break;
      case Sent::kRefused:
        refused = "keyfs (uid " + std::to_string(::geteuid()) + ") can't signal pid " +
                  std::to_string(one.process.pid) + ": " + std::strerror(errno);
        break;
      case Sent::kGone:
        break;
    }
  }
  if (!refused.empty()) co_return failed(std::move(refused));
  if (consumers.has_unknown_processes(rule.name, request.keys)) {
    co_return failed(
        "some of its processes get no signal, since keyfs can't tell them apart (they run in "
        "another "
        "PID namespace, or are too many): use exec:, systemd: or http:");
  }
  if (sent == 0) co_return co_await nobody_runs(request);
  co_return std::nullopt;
}

Task<Result<HookEnd>> HostRefresher::Impl::program(std::vector<std::string> arguments,
                                                   std::vector<std::string> environment,
                                                   size_t output, TimePoint deadline) {
  HookProgram program;
  program.arguments = std::move(arguments);
  program.environment = std::move(environment);
  program.environment.push_back(kPath);
  program.until = std::chrono::steady_clock::now() + (deadline - loop.now());
  program.output = output;
  const std::string path = program.arguments.at(0);
  auto task = programs.run(std::move(program));
  co_return co_await before(loop, deadline + kToKill, path, std::move(task));
}

Task<Ended> HostRefresher::Impl::exec(const ConsumerRule& rule, const RefreshRequest& request,
                                      TimePoint deadline) {
  std::vector<std::string> arguments{rule.refresh.target};
  std::vector<std::string> environment{
      "KEYFS_RUN=" + request.run, "KEYFS_CONSUMER=" + request.consumer,
      "KEYFS_KEYS=" + to_string(std::span<const KeyVersion>(request.keys)),
      "KEYFS_HOST=" + request.host};
  const auto end = co_await program(std::move(arguments), std::move(environment), 0, deadline);
  if (!end) co_return failed(end.error().message);
  if (end->well() || (rule.confirm == Confirm::kNone && !end->killed)) co_return std::nullopt;
  co_return failed(rule.refresh.target + " " + to_string(*end));
}

// Its processes may be others than the unit's: another unit's name in the section, or children that
// outlive it.
Task<Ended> HostRefresher::Impl::unit_is_off(const ConsumerRule& rule,
                                             const RefreshRequest& request, std::string load,
                                             std::string active, TimePoint deadline) {
  const std::string& unit = rule.refresh.target;
  const bool exists = load != "not-found";
  const bool ending = active == "deactivating";
  std::string why =
      exists ? "unit " + unit + " does not run (" + active + ")" : "there is no unit " + unit;
  for (;;) {
    const auto left = consumers.running(rule.name, request.keys);
    if (left.empty()) break;
    if (!ending || loop.now() >= deadline) {
      const size_t others = left.size() - 1;
      co_return failed(why + ", but pid " + std::to_string(left.front().process.pid) +
                       (others == 0 ? "" : " and " + std::to_string(others) + " more") +
                       " that opened the keys " + (others == 0 ? "runs" : "run") + " still");
    }
    co_await loop.sleep_until(std::min<TimePoint>(deadline, loop.now() + kLookAgain));
  }
  // Of those that keyfs can't follow, systemd knows; of a unit that it does not know, it does not.
  if (!exists && consumers.has_unknown_processes(rule.name, request.keys)) {
    co_return failed(why + ", and whether programs run still that use the keys is not known");
  }
  Ended ended = co_await nobody_runs(request);
  if (ended->what == What::kGone) ended->why = std::move(why);
  co_return ended;
}

Task<Ended> HostRefresher::Impl::systemd(const ConsumerRule& rule, const RefreshRequest& request,
                                         TimePoint deadline) {
  const std::string& unit = rule.refresh.target;
  constexpr size_t kAnswer = 4096;
  std::vector<std::string> ask{options.systemctl,
                               "--no-ask-password",
                               "show",
                               "--property=LoadState,ActiveState",
                               "--",
                               unit};
  const std::vector<std::string> environment{"LC_ALL=C"};
  const auto state = co_await program(std::move(ask), environment, kAnswer, deadline);
  if (!state) co_return failed(state.error().message);
  if (!state->well()) {
    co_return failed("systemd could not be asked about " + unit + ": " + options.systemctl +
                     " show " + to_string(*state));
  }
  const std::string load = property(state->output, "LoadState");
  const std::string active = property(state->output, "ActiveState");
  if (active == "inactive" || active == "failed" || active == "deactivating") {
    co_return co_await unit_is_off(rule, request, load, active, deadline);
  }
  // A unit that stopped meanwhile is not to be started.
  const std::string verb = rule.refresh.verb == "restart" ? "try-restart" : rule.refresh.verb;
  std::vector<std::string> act{options.systemctl, "--no-ask-password", verb, "--", unit};
  const auto end = co_await program(std::move(act), environment, 0, deadline);
  if (!end) co_return failed(end.error().message);
  if (end->killed) {
    co_return failed("systemctl " + verb + " " + unit +
                     " did not end in time; systemd may be at it still");
  }
  if (end->well() || rule.confirm == Confirm::kNone) co_return std::nullopt;
  co_return failed("systemctl " + verb + " " + unit + " " + to_string(*end) +
                   "; systemctl status " + unit + " tells why");
}

Result<HttpClient*> HostRefresher::Impl::http_client() {
  if (client == nullptr) {
    HttpClientOptions with = options.http;
    with.http2 = false;
    auto made = HttpClient::create(loop, poller, arena, std::move(with));
    if (!made) return fail(made.error());
    client = std::move(*made);
  }
  return client.get();
}

Task<Ended> HostRefresher::Impl::http(const ConsumerRule& rule, const RefreshRequest& request,
                                      TimePoint deadline) {
  const auto made = http_client();
  if (!made) co_return failed(made.error().message);
  HttpRequest asked(rule.refresh.verb, rule.refresh.target, deadline);
  asked.own_connection = true;  // a hook is run once at most
  if (rule.refresh.verb != "GET") {
    nlohmann::json keys = nlohmann::json::array();
    for (const KeyVersion& key : request.keys) keys.push_back(to_string(key));
    const nlohmann::json body = {{"run", request.run},
                                 {"consumer", request.consumer},
                                 {"host", request.host},
                                 {"keys", std::move(keys)}};
    asked.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    asked.headers.push_back({"Content-Type", "application/json"});
  }
  const auto reply = co_await (*made)->send(std::move(asked));
  if (!reply) co_return failed(reply.error().message);
  const int status = reply->status;
  if ((status >= 200 && status < 300) || rule.confirm == Confirm::kNone) co_return std::nullopt;
  std::string reason = host_of(rule.refresh.target) + " answered " + std::to_string(status);
  if (status >= 300 && status < 400) reason += "; redirects are not followed";
  co_return failed(std::move(reason));
}

}  // namespace keyfs
