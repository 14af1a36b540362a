// The master key of a local region: 32 raw bytes in a file, read when needed.
//
// Thread-safety: on the loop's thread; each file is read on its own thread, so that a hanging disk
// holds up no other region. Ownership: loop and arena outlive it and every MasterKey that it handed
// out. Blocking: never, except create_master_file() and the destructor, which waits for a read that
// has begun. Errors: one line, with the remedy; see load().
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
  // "keyfs local master v1". Distinguishes masters and reveals nothing about them.
  std::string name;
  SecretBytes bytes;
};

class MasterSource {
 public:
  virtual ~MasterSource() = default;
  // The master as it is now. kUnavailable if it does not exist, cannot be read now, does not have
  // 32 bytes, or must not be used: another owner, readable by others, in a directory where others
  // can replace it, a symbolic link, one byte repeated. (Not kDenied: it is no refusal of whoever
  // asks for a key.) Each call tries again, so that a restored file is found without a restart.
  // Without a deadline: it may take as long as the disk hangs.
  virtual Task<Result<std::shared_ptr<const MasterKey>>> load() = 0;
  // The last one loaded, or null. Never waits.
  virtual std::shared_ptr<const MasterKey> last() const = 0;
};

// Keeps what it read as long as the file's device, inode, size and times are unchanged.
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

// Whether what is at `path` may be used as a master by its kind, owner and permissions, and by those
// of its directory; what does not exist may, since it can be restored. kUnavailable as in load().
// Blocks on the disk; reads nothing of the file.
Result<void> check_master_file(const std::string& path);

// Writes a new random master key to `path`, mode 0600, on disk when it returns. False if a file
// already exists, which is left unchanged. kUnavailable if it can't be written. Blocks on the disk.
Result<bool> create_master_file(const std::string& path, SecretArena& arena, Random& random);

}  // namespace keyfs
