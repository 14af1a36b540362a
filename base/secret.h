// Memory for secrets: data keys, credentials, bodies of requests and replies that hold them.
//
// SecretArena packs secrets into slabs of 64 KiB which are locked (mlock), left out of core dumps
// (MADV_DONTDUMP), empty in a forked child (MADV_WIPEONFORK) and fenced by unreadable pages. A
// 32-byte key takes 32 locked bytes. Every slot is wiped when freed, and an empty slab is unmapped.
//
// Thread-safety: SecretArena is thread-safe (one mutex, not on the path of a cached read). A
// SecretBytes may be read by several threads and changed or moved by one.
// Ownership: a SecretBytes owns its slot; the arena must outlive it.
// Blocking: never waits for I/O.
// Errors: kUnavailable if memory cannot be allocated or locked; the message names RLIMIT_MEMLOCK.
// Sizes are in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace keyfs {

class SecretArena;

// Overwrites memory in a way that the compiler does not optimize out.
void wipe(std::span<uint8_t> memory);

// Clears the vector registers, which memory copies use: they keep the last bytes while a thread
// waits, and a core dump contains the registers of every thread. Call it on a thread that handles
// secrets, just before it waits. Does nothing on CPUs other than x86-64.
void wipe_registers();

// Bytes that must not leak. They can be moved, not copied or printed, and are wiped on destruction.
class SecretBytes {
 public:
  SecretBytes() = default;
  SecretBytes(SecretBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { reset(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // The only access to the bytes. What they return must not outlive this object.
  std::span<const uint8_t> reveal() const { return {data_, size_}; }
  std::string_view reveal_text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  std::span<uint8_t> reveal_mutable() { return {data_, size_}; }

  // Cuts to the first `size` bytes and wipes the rest.
  void truncate(size_t size);
  // Wipes the bytes and frees the slot.
  void reset();

  // Compares in time that depends only on the sizes.
  bool equals(std::span<const uint8_t> other) const;

 private:
  friend class SecretArena;
  SecretBytes(uint8_t* data, uint32_t size) : data_(data), size_(size) {}

  uint8_t* data_ = nullptr;
  uint32_t size_ = 0;
};

class SecretArena {
 public:
  SecretArena();
  ~SecretArena();
  SecretArena(const SecretArena&) = delete;
  SecretArena& operator=(const SecretArena&) = delete;

  static constexpr size_t kMaxBytes = 64u << 20;

  // Zeroed memory of `size` bytes; kInvalid for more than kMaxBytes.
  Result<SecretBytes> allocate(size_t size);
  // As allocate(). The original is the caller's to wipe.
  Result<SecretBytes> copy_of(std::span<const uint8_t> bytes);
  Result<SecretBytes> copy_of(std::string_view text);

  struct Usage {
    size_t locked_bytes = 0;  // locked by this arena, slack included
    size_t used_bytes = 0;    // in slots that are handed out
    size_t secrets = 0;       // how many are handed out
  };
  Usage usage() const;  // of now; takes the mutex

  // Bytes that this process may lock in total; SIZE_MAX if there is no limit (CAP_IPC_LOCK).
  static size_t lockable_bytes();

 private:
  friend class SecretBytes;
  struct State;
  struct Slab;
  static void release(uint8_t* data);

  std::unique_ptr<State> state_;
};

// A buffer that grows while data is received, always in locked memory.
class SecretBuffer {
 public:
  explicit SecretBuffer(SecretArena& arena) : arena_(&arena) {}

  // As SecretArena::allocate(); on an error the buffer is as it was.
  Result<void> append(std::span<const uint8_t> bytes);
  Result<void> append(std::string_view text);
  size_t size() const { return size_; }
  std::string_view reveal_text() const { return bytes_.reveal_text().substr(0, size_); }
  // Wipes it.
  void clear();
  // Returns what was appended and empties the buffer.
  SecretBytes take();

 private:
  SecretArena* arena_;
  SecretBytes bytes_;
  size_t size_ = 0;
};

}  // namespace keyfs
