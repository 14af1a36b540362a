// What was noted of records and is not on the disk yet: the newest word of each id. It stays until
// the disk has it, so that who asks finds it all the while.
//
// Thread-safety: none. Ownership: a value. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "fs/keys/replica_db.h"

namespace keyfs {

class PendingNotes {
 public:
  using Write = ReplicaDb::Write;

  // False: there is no room for another id. What was noted before of the same id is no less
  // remembered for the new word: what would take it back is not taken, which is no failure.
  bool add(Write write);
  // Valid until the next call that changes something; nullptr: none.
  const Write* find(const std::string& id) const;
  bool empty() const { return notes_.empty(); }
  std::vector<Write> all() const;
  // On the disk: forgotten, unless there is a newer word.
  void written(const std::vector<Write>& writes);

 private:
  std::map<std::string, Write> notes_;
};

}  // namespace keyfs
