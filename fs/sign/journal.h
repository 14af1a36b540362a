// What was begun with a key that has no name yet, or has one no longer: begun/<token>.json.
//
// An entry is on disk before the custody is asked to create a key. Its process holds a lock on its
// file as long as it lives; an entry whose lock is free is for whoever finds it to finish. The file
// has a line of JSON for what was begun, and further ones for the key's reference once it is known,
// and for its name where not all regions know it: a line that was cut short counts as not written.
//
// Thread-safety: plain calls; one thread at a time for an entry. Ownership: an entry holds its lock
// until it is dropped. Blocking: they touch the disk; on a worker. Errors: those of base/file.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/result.h"

namespace keyfs {

struct Begun {
  bool removal = false;  // of a name; otherwise a new key
  std::string id;
  std::string custody;
  std::optional<std::string> from;  // what the name referred to
  std::string key;                  // of a removal, the name's; empty: not known yet
  std::string token;                // of a new key: what it is found by while `key` is not known
  WallTime at{};                    // of a new key: when it was begun
  bool named = false;  // of a new key: the name refers to it, though not everywhere yet
};

class BegunEntry {
 public:
  BegunEntry(std::string path, Descriptor file, Begun what)
      : path_(std::move(path)), file_(std::move(file)), what_(std::move(what)) {}

  const Begun& what() const { return what_; }
  const std::string& path() const { return path_; }
  // Survives a power failure once it has returned.
  Result<void> set_key(const std::string& key);
  Result<void> set_named();
  // Nothing is left to do: removes the file.
  Result<void> finish();

 private:
  Result<void> append(const std::string& line);

  const std::string path_;
  Descriptor file_;
  Begun what_;
};
using BegunEntryPtr = std::shared_ptr<BegunEntry>;

class Journal {
 public:
  explicit Journal(std::string directory) : directory_(std::move(directory)) {}

  Result<BegunEntryPtr> begin(Begun what) const;

  struct LeftOver {
    std::vector<BegunEntryPtr> entries;  // nobody's; locked by us now
    std::vector<std::string> damaged;    // files that say nothing
    size_t living = 0;                   // entries of living processes, this one's too
  };
  Result<LeftOver> left_over() const;
  // What all entries say, living ones too.
  Result<std::vector<Begun>> all() const;

 private:
  const std::string directory_;
};

}  // namespace keyfs
