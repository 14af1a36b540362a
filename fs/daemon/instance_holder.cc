#include "fs/daemon/instance_holder.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <thread>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxHolderFile = 256;
constexpr Duration kLookForEnd = 20ms;

ProcessId this_process() {
  const pid_t pid = ::getpid();
  const auto stat = process_stat(pid);
  return stat ? ProcessId{pid, stat->start} : ProcessId();
}

// Up to the next blank, which is taken away too.
template <class T>
bool take_number(std::string_view& text, T& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (!text.starts_with(' ')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

InstanceHolder::InstanceHolder(std::string file)
    : InstanceHolder(std::move(file), this_process(), process_epoch()) {}

InstanceHolder::InstanceHolder(std::string file, ProcessId self, std::string epoch)
    : file_(std::move(file)), self_(self), epoch_(std::move(epoch)) {}

// Of this boot and PID namespace: elsewhere the number means another process.
std::optional<ProcessId> InstanceHolder::last() const {
  if (epoch_.empty() || self_.pid == 0) return std::nullopt;
  const auto text = read_to_end(file_, kMaxHolderFile);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  ProcessId process;
  if (!take_number(rest, process.pid) || !take_number(rest, process.start)) return std::nullopt;
  if (rest != epoch_ + "\n" || process.pid <= 0) return std::nullopt;
  return process;
}

std::optional<ProcessId> InstanceHolder::other() const {
  const auto there = last();
  return there && *there != self_ ? there : std::nullopt;
}

void InstanceHolder::write(const ProcessId& process) const {
  const std::string text =
      std::to_string(process.pid) + " " + std::to_string(process.start) + " " + epoch_ + "\n";
  (void)write_whole_file(file_, text, true);
}

std::optional<pid_t> InstanceHolder::take(Duration patience) {
  if (epoch_.empty() || self_.pid == 0) return std::nullopt;
  former_ = other();
  Duration waited{};
  while (former_ && is_running(*former_) && waited < patience) {
    std::this_thread::sleep_for(kLookForEnd);
    waited += kLookForEnd;
  }
  write(self_);
  if (former_ && !is_running(*former_)) former_.reset();
  return former_ ? std::optional<pid_t>(former_->pid) : std::nullopt;
}

void InstanceHolder::give_back() const {
  if (former_ && is_running(*former_) && last() == self_) write(*former_);
}

std::optional<pid_t> InstanceHolder::successor() const {
  const auto there = other();
  return there ? std::optional<pid_t>(there->pid) : std::nullopt;
}

}  // namespace keyfs
