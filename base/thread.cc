#include "base/thread.h"

#include <pthread.h>

#include <csignal>
#include <utility>

namespace keyfs {

std::thread start_thread(const std::string& name, std::function<void()> work) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  try {
    thread = std::thread(std::move(work));
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw std::system_error(error.code(), name);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
  return thread;
}

Result<std::thread> try_start_thread(const std::string& name, std::function<void()> work) {
  try {
    return start_thread(name, std::move(work));
  } catch (const std::system_error& error) {
    return fail(error_of(error));
  }
}

Error error_of(const std::system_error& error) {
  return Error(Code::kUnavailable,
               std::string("could not start a thread: ") + error.what() +
                   "; the processes and threads of this user are limited (`ulimit -u`, TasksMax= "
                   "of systemd, pids.max of a container): raise the limit");
}

}  // namespace keyfs
