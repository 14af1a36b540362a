#include "fs/rotation/process_tree.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "fs/rotation/process_id.h"

extern "C" {  // which glibc 2.36's own header lacks
#include <sys/pidfd.h>
}

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

constexpr auto kPatience = 100ms;  // how long the kernel may take to stop them
constexpr auto kPause = 1ms;
constexpr int kLooks = 3;       // at least, however long each takes
constexpr size_t kMost = 1000;  // descriptors that are held at once

class Tree {
 public:
  explicit Tree(pid_t leader) : leader_(leader) { hold(leader); }

  // Finds and stops what is not held yet; whether there was any.
  bool look() {
    bool found = false;
    for (const pid_t pid : all_processes()) {
      const auto known = held_.find(pid);
      if (known != held_.end() && is_there(known->second)) continue;
      const auto stat = process_stat(pid);
      if (stat && belongs(pid, *stat)) found = hold(pid) || found;
    }
    return found;
  }
  // Whether none of them can start another one.
  bool stand_still() const {
    return std::none_of(held_.begin(), held_.end(), [](const auto& one) {
      const auto stat = process_stat(one.first);
      // D: in the kernel, where it stays until it stops, or waits for a child that was stopped.
      return stat && std::strchr("TtZXD", stat->state) == nullptr && is_there(one.second);
    });
  }
  void kill() {
    for (const auto& [pid, process] : held_) send(process, SIGKILL);
  }

 private:
  static bool send(const Descriptor& process, int signal) {
    return ::pidfd_send_signal(process.get(), signal, nullptr, 0) == 0;
  }
  // It was not reaped, so its number is its own still.
  static bool is_there(const Descriptor& process) { return send(process, 0) || errno != ESRCH; }

  bool belongs(pid_t pid, const ProcessStat& stat) const {
    if (pid == leader_ || stat.session == leader_ || stat.group == leader_) return true;
    // A number that one of ours still has is nobody else's.
    const pid_t numbers[] = {stat.parent, stat.session, stat.group};
    return std::any_of(std::begin(numbers), std::end(numbers), [this](pid_t number) {
      const auto known = held_.find(number);
      return known != held_.end() && is_there(known->second);
    });
  }
  // What is held had the number before the look at it. So if what the look shows belongs to us, then
  // so does what is held, or that has ended already.
  bool hold(pid_t pid) {
    if (held_.size() >= kMost) return false;
    Descriptor process(::pidfd_open(pid, 0));
    if (!process.is_open()) return false;
    const auto stat = process_stat(pid);
    if (!stat || !belongs(pid, *stat)) return false;
    send(process, SIGSTOP);
    held_[pid] = std::move(process);
    return true;
  }

  const pid_t leader_;
  std::map<pid_t, Descriptor> held_;
};

}  // namespace

void kill_with_descendants(pid_t leader) {
  // A /proc of another PID namespace has other numbers.
  const auto stat = process_stat(leader);
  if (stat && stat->parent == ::getpid() && stat->session == leader) {
    Tree tree(leader);
    const auto until = Steady::now() + kPatience;
    for (int looks = 1;; ++looks) {
      const bool still = tree.stand_still();
      // What was found may have started others before it was stopped.
      if (!tree.look() && still) break;
      if (looks >= kLooks && Steady::now() >= until) break;
      if (!still) std::this_thread::sleep_for(kPause);
    }
    tree.kill();
  }
  ::kill(-leader, SIGKILL);
}

}  // namespace keyfs
