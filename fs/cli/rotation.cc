// keyfs rotation.
#include "fs/cli/rotation.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <string_view>
#include <utility>

#include "fs/cli/rotation_beside.h"
#include "fs/cli/rotation_watch.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;
using Verb = RotationArguments::Verb;
using Outcome = RunChange::Outcome;

constexpr size_t kPage = 100;

ExitCode failed(const Error& error, Output& output) {
  output.error(error.message);
  return exit_code_for(error);
}

ExitCode no_such_run(const std::string& run, Output& output) {
  output.error("there is no run " + Output::printable(run) +
               " (keyfs rotation list shows the last ones)");
  return ExitCode::kFailed;
}

// Of the newest, where none can be shown.
ExitCode no_run(const RotationDesk& parts, Output& output) {
  const BesideRun beside(nullptr, parts);
  if (beside.nothing()) {
    output.error("there was no run yet");
    return ExitCode::kFailed;
  }
  if (output.json()) {
    Json document = {{"run", nullptr}};
    beside.add_to(document);
    output.write(document);
  } else {
    output.out() << "no run can be shown yet\n" << beside.text();
  }
  return beside.tell(ExitCode::kDone, output);
}

// Of a run that is looked at: one that goes on is well.
ExitCode code_of(const RunSummary& summary) {
  return summary.has_ended() && !summary.complete() ? ExitCode::kPartial : ExitCode::kDone;
}

std::string names_text(const std::vector<std::string>& names, size_t most) {
  std::vector<std::string> words;
  for (size_t i = 0; i < names.size() && i < most; ++i) words.push_back(safe_text(names[i], 60));
  return joined_with_more(words, names.size() - words.size());
}

void print_list(const std::vector<RunSummary>& runs, Output& output) {
  if (runs.empty()) {
    output.out() << "no runs\n";
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"RUN", "STATE", "BEGUN", "ENDED", "KEYS", "CONSUMERS"}};
  for (const RunSummary& run : runs) {
    rows.push_back(
        {safe_text(run.run, 60), std::string(run.word()), run.begun ? to_rfc3339(*run.begun) : "-",
         run.ended ? to_rfc3339(*run.ended) : "-", names_text(run.keys, 3), to_text(run.counts)});
  }
  print_table(output.out(), rows);
}

// What the caller may not see is left out.
ExitCode list(const RotationArguments& arguments, const RotationDesk& parts, Output& output) {
  std::vector<RunSummary> runs;
  std::vector<std::string> damaged;
  std::string after;
  bool more = true;
  while (more && runs.size() < arguments.limit) {
    auto page =
        parts.loop.run_task(parts.runs.list(after, kPage, parts.loop.now() + parts.patience));
    if (!page) return failed(page.error().within("could not list the runs"), output);
    for (std::string& run : page->damaged) damaged.push_back(safe_text(run, 60));
    for (RunSummary& run : page->runs) {
      if (runs.size() < arguments.limit && parts.permitted(run.keys, nullptr)) {
        runs.push_back(std::move(run));
      }
    }
    more = page->next.has_value();
    if (more) after = *page->next;
  }
  if (output.json()) {
    Json all = Json::array();
    for (const RunSummary& run : runs) all.push_back(to_json(run));
    output.write({{"runs", std::move(all)}, {"damaged", damaged}});
  } else {
    print_list(runs, output);
  }
  if (damaged.empty()) return ExitCode::kDone;
  output.error("damaged on the board, and not shown: " + joined(damaged) +
               " (\"Repair of the board\" in keyfs(1) tells what to do)");
  return ExitCode::kPartial;
}

// A report that the caller may see; nullopt, after it was told, where the command ends with `code`.
std::optional<RunReport> seen(std::optional<RunReport> report, const std::string& run,
                              const char* verb, const RotationDesk& parts, Output& output,
                              ExitCode& code) {
  if (!report) {
    code = run.empty() ? no_run(parts, output) : no_such_run(run, output);
    return std::nullopt;
  }
  if (!parts.permitted(report->summary().keys, verb)) {
    code = ExitCode::kFailed;
    return std::nullopt;
  }
  return report;
}

// The report of a run; nullopt, after it was told, where the command ends with `code`.
std::optional<RunReport> look(const std::string& run, const char* verb, const RotationDesk& parts,
                              Output& output, ExitCode& code) {
  auto report = parts.loop.run_task(parts.runs.report(run, parts.loop.now() + parts.patience));
  if (!report) {
    code = failed(report.error().within("could not read the run"), output);
    return std::nullopt;
  }
  return seen(std::move(*report), run, verb, parts, output, code);
}

// The newest run; the next one if somebody has asked for it.
std::optional<RunReport> look_ahead(const RotationDesk& parts, const char* verb, Output& output,
                                    ExitCode& code) {
  auto report = RotationWatch(parts, output).next();
  if (!report) {
    code =
        report.error().code == Code::kTimeout ? ExitCode::kPartial : exit_code_for(report.error());
    output.error(report.error().message);
    return std::nullopt;
  }
  return seen(std::move(*report), "", verb, parts, output, code);
}

// `newest`: no run was named, so that what there is beside it belongs to the answer.
ExitCode answer(const RunReport& report, bool all, bool newest, const RotationDesk& parts,
                Output& output) {
  std::optional<BesideRun> beside;
  if (newest) beside.emplace(&report, parts);
  ReportParts shown;
  shown.every_consumer = all;
  if (output.json()) {
    Json document = to_json(report);
    if (beside) beside->add_to(document);
    output.write(document);
  } else {
    output.out() << to_text(report, shown);
    if (beside && !beside->text().empty()) output.out() << '\n' << beside->text();
  }
  const ExitCode code = code_of(report.summary());
  return beside ? beside->tell(code, output) : code;
}

ExitCode watch(RunReport report, bool all, bool newest, const RotationDesk& parts, Output& output) {
  RotationWatch watching(parts, output);
  auto ended = watching.run(std::move(report));
  if (!ended) {
    output.error(ended.error().message);
    return ended.error().code == Code::kTimeout ? ExitCode::kPartial : ExitCode::kFailed;
  }
  return answer(*ended, all, newest, parts, output);
}

ExitCode show(const RotationArguments& arguments, const RotationDesk& parts, Output& output) {
  ExitCode code = ExitCode::kFailed;
  const char* verb = "look at a run of";
  auto report = arguments.watch && arguments.run.empty()
                    ? look_ahead(parts, verb, output, code)
                    : look(arguments.run, verb, parts, output, code);
  if (!report) return code;
  const bool newest = arguments.run.empty();
  if (arguments.watch) return watch(std::move(*report), arguments.all, newest, parts, output);
  return answer(*report, arguments.all, newest, parts, output);
}

std::string_view word_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return "done";
    case Outcome::kNothing:
      return "nothing";
    case Outcome::kUnderWay:
      return "under way";
    case Outcome::kHeard:
      return "heard from";
    case Outcome::kUnknown:
      break;
  }
  return "unknown";
}

std::string counted_consumers(size_t count) {
  return std::to_string(count) + (count == 1 ? " consumer" : " consumers");
}

// Where whoever was named is not in the run: who is.
std::string who_else(const RotationArguments& arguments, const RunReport& report) {
  constexpr size_t kMost = 5;
  std::set<std::string> found;
  for (const ConsumerReport& one : report.consumers) {
    if (arguments.consumer.empty() || one.consumer == arguments.consumer) found.insert(one.host);
  }
  if (arguments.consumer.empty()) {
    found.insert(report.not_heard_from.begin(), report.not_heard_from.end());
  }
  if (found.empty()) {
    return "keyfs rotation show --all " + safe_text(report.run, 60) + " names those that it has";
  }
  const std::string hosts = names_text({found.begin(), found.end()}, kMost);
  return (arguments.consumer.empty() ? "its hosts are " : "it is on ") + hosts;
}

// Of those that a mark meant and did not mark: "app on web-2 (is being told)".
std::string why_not_marked(const std::vector<ConsumerReport>& those, const std::string& run) {
  constexpr size_t kMost = 5;
  std::vector<std::string> words;
  bool goes_on = false;
  for (const ConsumerReport& one : those) {
    const bool waits = one.state == ConsumerState::kWaiting;
    const bool runs = one.state == ConsumerState::kRunning;
    goes_on = goes_on || waits || runs;
    if (words.size() == kMost) continue;
    words.push_back(safe_text(one.consumer, 60) + " on " + safe_text(one.host, 60) + " (" +
                    (runs    ? "is being told"
                     : waits ? "waits for its turn"
                             : std::string(to_string(one.state)) + " meanwhile") +
                    ")");
  }
  return joined_with_more(words, those.size() - words.size()) + "; the same command again" +
         (goes_on ? " once that is over (keyfs rotation show --watch " + run + " follows it)" : "");
}

Json not_marked_json(const std::vector<ConsumerReport>& those) {
  Json all = Json::array();
  for (const ConsumerReport& one : those) {
    all.push_back(
        {{"consumer", one.consumer}, {"host", one.host}, {"state", to_string(one.state)}});
  }
  return all;
}

std::string hosts_of(const std::vector<ConsumerReport>& those) {
  std::vector<std::string> hosts;
  for (const ConsumerReport& one : those) hosts.push_back(one.host);
  return names_text(hosts, 5);
}

// For people; an error where nothing was done and should have been. `report`: of the run before.
std::string line_of(const RotationArguments& arguments, const RunChange& change,
                    const RunReport& report) {
  const std::string run = Output::printable(arguments.run);
  const std::string whom =
      Output::printable(arguments.consumer.empty() ? "host " + arguments.host
                        : arguments.host.empty()   ? arguments.consumer
                                                   : arguments.consumer + " on " + arguments.host);
  switch (change.outcome) {
    case Outcome::kUnderWay:
      if (arguments.verb == Verb::kDone) {
        return "run " + run + " is still under way with " + whom +
               ": nothing was marked: " + why_not_marked(change.not_marked, run);
      }
      return "run " + run + " has not ended yet: nothing was done (keyfs rotation show --watch " +
             run + " follows it)";
    case Outcome::kHeard:
      return whom + " was heard from in run " + run +
             ": nothing was marked; name the consumer as well (keyfs rotation show --all " + run +
             " lists them)";
    case Outcome::kUnknown:
      if (arguments.consumer.empty()) {
        return "run " + run + " does not wait for " + whom + ": " + who_else(arguments, report);
      }
      return "run " + run + " has no consumer " + whom + ": " + who_else(arguments, report);
    case Outcome::kNothing:
      if (arguments.verb == Verb::kRetry) return "nothing in run " + run + " is to be done again";
      if (arguments.verb == Verb::kStop) return "run " + run + " has ended already";
      return whom + " is done already";
    case Outcome::kDone:
      break;
  }
  if (arguments.verb == Verb::kStop) return "run " + run + " tells no further consumers";
  if (arguments.verb == Verb::kRetry) {
    return (change.consumers == 0 ? "the hosts that were not heard from are asked"
                                  : counted_consumers(change.consumers) + " will be told") +
           " again" +
           (change.run == arguments.run ? "" : ", in run " + Output::printable(change.run));
  }
  if (!change.not_marked.empty() && arguments.host.empty() && !change.marked.empty()) {
    return whom + " is marked as done on " + hosts_of(change.marked);
  }
  return whom + " is marked as done" +
         (change.consumers > 1 ? " (" + counted_consumers(change.consumers) + ")" : "");
}

Task<Result<std::optional<RunChange>>> ask(const RotationArguments& arguments,
                                           const RotationDesk& parts, std::string run) {
  const TimePoint deadline = parts.loop.now() + parts.patience;
  if (arguments.verb == Verb::kRetry) return parts.runs.retry(std::move(run), parts.by, deadline);
  if (arguments.verb == Verb::kStop) return parts.runs.stop(std::move(run), parts.by, deadline);
  return parts.runs.mark_done(std::move(run), arguments.consumer, arguments.host, parts.by,
                              deadline);
}

ExitCode change(const RotationArguments& arguments, const char* verb, const RotationDesk& parts,
                Output& output) {
  ExitCode code = ExitCode::kFailed;
  const auto before = look(arguments.run, verb, parts, output, code);
  if (!before) return code;
  const auto changed = parts.loop.run_task(ask(arguments, parts, before->run));
  if (!changed) {
    const bool marks = arguments.verb == Verb::kDone;
    const char* what = marks ? "could not mark it, or not everywhere" : "could not change the run";
    return failed(changed.error().within(what), output);
  }
  if (!*changed) return no_such_run(arguments.run, output);
  const RunChange& told = **changed;
  const bool refused = told.outcome == Outcome::kUnderWay || told.outcome == Outcome::kUnknown ||
                       told.outcome == Outcome::kHeard;
  const bool in_part = told.outcome == Outcome::kDone && !told.not_marked.empty();
  const bool watches = arguments.watch && told.outcome == Outcome::kDone;
  const std::string line = line_of(arguments, told, *before);
  if (refused) {
    output.error(line);
  } else if (!output.json()) {
    output.out() << line << '\n' << std::flush;
  }
  if (in_part) {
    output.error("not marked: " + why_not_marked(told.not_marked, Output::printable(told.run)));
  }
  if (watches) {
    auto report = look(told.run, verb, parts, output, code);
    if (!report) return code;
    return watch(std::move(*report), arguments.all, false, parts, output);
  }
  if (output.json()) {
    Json document = {{"run", told.run},
                     {"outcome", in_part ? "in part" : word_of(told.outcome)},
                     {"consumers", told.consumers}};
    if (arguments.verb == Verb::kDone) document["not_marked"] = not_marked_json(told.not_marked);
    output.write(document);
  }
  if (refused) return ExitCode::kFailed;
  return in_part ? ExitCode::kPartial : ExitCode::kDone;
}

}  // namespace

ExitCode rotation(const RotationArguments& arguments, const RotationDesk& parts, Output& output) {
  switch (arguments.verb) {
    case Verb::kList:
      return list(arguments, parts, output);
    case Verb::kShow:
      return show(arguments, parts, output);
    case Verb::kRetry:
      return change(arguments, "do again a run of", parts, output);
    case Verb::kDone:
      return change(arguments, "mark consumers of", parts, output);
    case Verb::kStop:
      break;
  }
  return change(arguments, "stop a run of", parts, output);
}

std::optional<size_t> terminal_columns(int fd) {
  constexpr size_t kUsual = 80;
  const char* kind = std::getenv("TERM");
  if (::isatty(fd) == 0 || kind == nullptr || std::string_view(kind) == "dumb") {
    return std::nullopt;
  }
  struct winsize size {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
  return size.ws_col;
}

}  // namespace keyfs
