// The master key of a local region: 32 raw bytes in a file, read when they are needed.
//
// Thread-safety: on the loop's thread; a file is read on a thread of its own, so that one on a disk
// that hangs holds up no other region. Ownership: loop and arena outlive it and every MasterKey
// that was handed out. Blocking: never but for the destructor, which waits for a read that has
// begun; create_master_file() does, too. Errors: kUnavailable for a file that is not there or
// cannot be read just now: it is tried anew with every call, so that a file put back is found
// without a restart. kDenied for one that keyfs must not use: of another owner, readable by others,
// a symbolic link, not 32 bytes long. One line, with the remedy.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "base/crypto.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "base/worker.h"

namespace keyfs {

inline constexpr size_t kMasterKeyBytes = 32;

struct MasterKey {
  // "local:" and 16 hex digits: the first 8 bytes of HMAC-SHA256 under the master over the text
  // "keyfs local master v1". Tells masters apart and says nothing about them.
  std::string name;
  SecretBytes bytes;
};

class MasterSource {
 public:
  virtual ~MasterSource() = default;
  virtual Task<Result<std::shared_ptr<const MasterKey>>> load() = 0;
  // The last one loaded, or null. Never waits.
  virtual std::shared_ptr<const MasterKey> last() const = 0;
};

// Keeps what it read as long as device, inode, size and times of the file are the same.
class MasterFile final : public MasterSource {
 public:
  MasterFile(Loop& loop, SecretArena& arena, std::string path);
  ~MasterFile() override;

  Task<Result<std::shared_ptr<const MasterKey>>> load() override;
  std::shared_ptr<const MasterKey> last() const override;

 private:
  struct State;
  std::shared_ptr<State> state_;
  Worker worker_;
};

// A MasterKey of these bytes: kInvalid unless there are 32.
Result<std::shared_ptr<const MasterKey>> make_master_key(SecretBytes bytes);

// Writes a new random master key to `path`, mode 0600, on disk when it returns. False when a file
// is there already: it is left as it is. Blocks.
Result<bool> create_master_file(const std::string& path, SecretArena& arena, Random& random);

}  // namespace keyfs
