#include "fs/daemon/state_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

std::string reason(int why) { return std::generic_category().message(why); }

// Why it is not writable; "" if it is.
std::string try_to_write(const std::string& path) {
  std::string name = path + "/try.XXXXXX";
  const Descriptor file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file.is_open()) return reason(errno);
  ::unlink(name.c_str());
  const std::array<uint8_t, 4096> page{};
  return write_all(file.get(), page) && ::fsync(file.get()) == 0 ? "" : reason(errno);
}

bool remembers_store(const std::string& path) {
  for (const char* name : {"/store-id", "/etcd-cluster"}) {
    if (::access((path + name).c_str(), R_OK) == 0) return true;
  }
  return false;
}

}  // namespace

Result<StateDir> StateDir::prepare(const std::string& path) {
  StateDir state;
  state.path_ = path;
  std::error_code error;
  std::vector<std::string> missing;
  for (fs::path part = path; !part.empty() && part != part.root_path() && !fs::exists(part, error);
       part = part.parent_path()) {
    missing.push_back(part.string());
  }
  fs::create_directories(path, error);  // umask 077: mode 0700
  for (const auto& part : missing) {
    std::error_code ignored;
    if (fs::exists(part, ignored)) state.made_.push_back(part);
  }
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) {
    state.trouble_ = path + ": " + (error ? error.message() : reason(errno));
    return state;
  }
  if (auto trusted = check_private_directory(path); !trusted) {
    return fail(trusted.error().within("state_dir"));
  }
  if (auto trusted = check_place(path); !trusted) {
    return fail(trusted.error().within("state_dir"));
  }
  if (const std::string why = try_to_write(path); !why.empty()) state.trouble_ = path + ": " + why;
  return state;
}

std::string StateDir::for_known_store() const {
  return usable() || remembers_store(path_) ? path_ : "";
}

std::string StateDir::for_known_store_of_command(const std::string& path) {
  // A file system that is read-only is told before a lack of permission is.
  if (::access(path.c_str(), R_OK | X_OK) != 0) return "";
  if (::access(path.c_str(), W_OK) != 0 && errno != EROFS) return "";
  return remembers_store(path) || try_to_write(path).empty() ? path : "";
}

void StateDir::take_back() const {
  for (const auto& path : made_) {
    if (::rmdir(path.c_str()) != 0) return;
  }
}

}  // namespace keyfs
