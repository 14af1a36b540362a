// A mount with keys that have several versions.
#pragma once

#include <dirent.h>
#include <sys/mman.h>

#include <map>
#include <set>
#include <string>

#include "fs/mount/mount_fixture.h"

namespace keyfs::testing {

class VersionsTest : public MountTest {
 protected:
  std::string versions(const std::string& id, const std::string& name = "") const {
    return path(".keyfs/versions/" + id + (name.empty() ? "" : "/" + name));
  }
  // A new version, which this host serves from now on.
  uint32_t rotate(const std::string& id, const std::string& text) {
    const uint32_t version = backend().rotate(id, text);
    const KeyRef entry = side_->cache.acquire(id);
    side_->cache.put(*entry, backend().make(id, version), side_->loop.now(), side_->cache.epoch());
    side_->ops.current_changed(*entry);
    return version;
  }
  static std::string contents(int file) {
    std::string text(10'000, '\0');
    const ssize_t got = ::pread(file, text.data(), text.size(), 0);
    if (got < 0) return "errno " + std::to_string(errno);
    text.resize(static_cast<size_t>(got));
    return text;
  }
  static std::string contents(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return "errno " + std::to_string(errno);
    std::string text = contents(file);
    ::close(file);
    return text;
  }
  static std::string link_of(const std::string& path) {
    std::string text(4096, '\0');
    const ssize_t got = ::readlink(path.c_str(), text.data(), text.size());
    if (got < 0) return "errno " + std::to_string(errno);
    text.resize(static_cast<size_t>(got));
    return text;
  }
  // By name: the inode number that readdir(3) tells. Empty: it can't be opened.
  static std::map<std::string, ino_t> list(const std::string& path) {
    std::map<std::string, ino_t> names;
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return names;
    while (const dirent* entry = ::readdir(directory)) names[entry->d_name] = entry->d_ino;
    ::closedir(directory);
    return names;
  }
  static int look(const std::string& path) {
    struct stat attributes {};
    return ::lstat(path.c_str(), &attributes) == 0 ? 0 : errno;
  }
  static int64_t size_of(const std::string& path) {
    struct stat attributes {};
    return ::stat(path.c_str(), &attributes) == 0 ? attributes.st_size : -errno;
  }
};

}  // namespace keyfs::testing
