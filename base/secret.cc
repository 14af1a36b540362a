#include "base/secret.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace keyfs {
namespace {

constexpr size_t kSlabBytes = 64 * 1024;  // also the alignment by which a slot finds its slab
constexpr size_t kHeaderBytes = 64;
constexpr std::array<uint32_t, 18> kClasses = {16,  32,  48,   64,   96,   128,  192,  256,  384,
                                               512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384};
constexpr size_t kLarge = kClasses.size();  // a secret with a mapping of its own

size_t class_of(size_t size) {
  for (size_t i = 0; i < kClasses.size(); ++i) {
    if (size <= kClasses[i]) return i;
  }
  return kLarge;
}

// CAP_IPC_LOCK lifts RLIMIT_MEMLOCK; libcap is not needed for one bit.
bool may_lock_anything() {
  FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return false;
  char line[256];
  unsigned long long effective = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::strncmp(line, "CapEff:", 7) == 0) effective = std::strtoull(line + 7, nullptr, 16);
  }
  std::fclose(status);
  constexpr int kCapIpcLock = 14;
  return (effective >> kCapIpcLock) & 1;
}

}  // namespace

void wipe(std::span<uint8_t> memory) {
#ifndef KEYFS_UNSAFE_NO_WIPE  // only set in the build that proves that the memory scan finds keys
  if (!memory.empty()) explicit_bzero(memory.data(), memory.size());
#else
  (void)memory;
#endif
}

void wipe_registers() {
#if defined(__x86_64__) && !defined(KEYFS_UNSAFE_NO_WIPE)
  // The C library chooses which of them memcpy uses, depending on the CPU.
  if (__builtin_cpu_supports("avx512f")) {
    asm volatile(
        "vpxorq %%zmm16, %%zmm16, %%zmm16\n vpxorq %%zmm17, %%zmm17, %%zmm17\n"
        "vpxorq %%zmm18, %%zmm18, %%zmm18\n vpxorq %%zmm19, %%zmm19, %%zmm19\n"
        "vpxorq %%zmm20, %%zmm20, %%zmm20\n vpxorq %%zmm21, %%zmm21, %%zmm21\n"
        "vpxorq %%zmm22, %%zmm22, %%zmm22\n vpxorq %%zmm23, %%zmm23, %%zmm23\n"
        "vpxorq %%zmm24, %%zmm24, %%zmm24\n vpxorq %%zmm25, %%zmm25, %%zmm25\n"
        "vpxorq %%zmm26, %%zmm26, %%zmm26\n vpxorq %%zmm27, %%zmm27, %%zmm27\n"
        "vpxorq %%zmm28, %%zmm28, %%zmm28\n vpxorq %%zmm29, %%zmm29, %%zmm29\n"
        "vpxorq %%zmm30, %%zmm30, %%zmm30\n vpxorq %%zmm31, %%zmm31, %%zmm31\n" ::);
  }
  if (__builtin_cpu_supports("avx")) {
    asm volatile("vzeroall" ::
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  } else {
    asm volatile(
        "pxor %%xmm0, %%xmm0\n pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n"
        "pxor %%xmm3, %%xmm3\n pxor %%xmm4, %%xmm4\n pxor %%xmm5, %%xmm5\n"
        "pxor %%xmm6, %%xmm6\n pxor %%xmm7, %%xmm7\n pxor %%xmm8, %%xmm8\n"
        "pxor %%xmm9, %%xmm9\n pxor %%xmm10, %%xmm10\n pxor %%xmm11, %%xmm11\n"
        "pxor %%xmm12, %%xmm12\n pxor %%xmm13, %%xmm13\n pxor %%xmm14, %%xmm14\n"
        "pxor %%xmm15, %%xmm15\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
              "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  }
#endif
}

// Located at the start of its slab, so that a slot finds it by masking its address.
struct SecretArena::Slab {
  State* owner;
  uint8_t* mapping;  // the whole reservation with its unreadable fences
  size_t mapping_bytes;
  size_t locked_bytes;
  uint32_t klass;
  uint32_t slot_bytes;
  uint32_t used;        // slots handed out
  uint32_t never_used;  // index of the first slot that has never been handed out
  void* free_list;      // freed slots, linked through their first bytes
  uint32_t slots;

  uint8_t* slot(uint32_t index) {
    return reinterpret_cast<uint8_t*>(this) + kHeaderBytes + size_t{index} * slot_bytes;
  }
  bool full() const { return free_list == nullptr && never_used == slots; }
};

struct SecretArena::State {
  mutable std::mutex mutex;
  std::array<std::vector<Slab*>, kClasses.size()> with_room;  // slabs that are not full
  Usage usage;

  Result<Slab*> map_slab(size_t klass, size_t size);
  void unmap_slab(Slab* slab);
};

static_assert(kHeaderBytes >= 64);

Result<SecretArena::Slab*> SecretArena::State::map_slab(size_t klass, size_t size) {
  static_assert(sizeof(Slab) <= kHeaderBytes);
  const size_t page = 4096;
  const size_t usable =
      klass == kLarge ? (kHeaderBytes + size + page - 1) / page * page : kSlabBytes;
  // Room to align, and at least one fence page on either side.
  const size_t reserved = usable + 2 * kSlabBytes;
  void* mapping =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return fail(Code::kUnavailable, std::string("no memory for secrets: ") + std::strerror(errno));
  }
  const uintptr_t start = reinterpret_cast<uintptr_t>(mapping) + page;
  auto* base = reinterpret_cast<uint8_t*>((start + kSlabBytes - 1) / kSlabBytes * kSlabBytes);
  const auto give_up = [&](const char* what) -> Result<Slab*> {
    const int error = errno;
    munmap(mapping, reserved);
    std::string message = std::string("cannot keep secrets in locked memory: ") + what + ": " +
                          std::strerror(error) + "; " + std::to_string(usage.locked_bytes / 1024) +
                          " KiB are locked";
    if (const size_t limit = lockable_bytes(); limit != std::numeric_limits<size_t>::max()) {
      message += " and RLIMIT_MEMLOCK is " + std::to_string(limit / 1024) +
                 " KiB: raise it (ulimit -l, LimitMEMLOCK= in a systemd unit)";
    }
    return fail(Code::kUnavailable, std::move(message));
  };
  if (mprotect(base, usable, PROT_READ | PROT_WRITE) != 0) return give_up("mprotect");
  if (madvise(base, usable, MADV_DONTDUMP) != 0) return give_up("MADV_DONTDUMP");
  if (madvise(base, usable, MADV_WIPEONFORK) != 0) return give_up("MADV_WIPEONFORK");
  if (mlock(base, usable) != 0) return give_up("mlock");

  auto* slab = new (base) Slab{};
  slab->owner = this;
  slab->mapping = static_cast<uint8_t*>(mapping);
  slab->mapping_bytes = reserved;
  slab->locked_bytes = usable;
  slab->klass = static_cast<uint32_t>(klass);
  slab->slot_bytes = klass == kLarge ? static_cast<uint32_t>(size) : kClasses[klass];
  slab->slots =
      klass == kLarge ? 1 : static_cast<uint32_t>((kSlabBytes - kHeaderBytes) / kClasses[klass]);
  usage.locked_bytes += usable;
  return slab;
}

void SecretArena::State::unmap_slab(Slab* slab) {
  usage.locked_bytes -= slab->locked_bytes;
  munmap(slab->mapping, slab->mapping_bytes);
}

SecretArena::SecretArena() : state_(std::make_unique<State>()) {}

SecretArena::~SecretArena() {
  // Remaining secrets would be dangling: a bug in the order of destruction, so abort.
  if (state_->usage.secrets != 0) std::abort();
  for (auto& slabs : state_->with_room) {
    for (Slab* slab : slabs) state_->unmap_slab(slab);
  }
}

Result<SecretBytes> SecretArena::allocate(size_t size) {
  if (size > kMaxBytes) {
    return fail(Code::kInvalid, "a secret of " + std::to_string(size) + " bytes is too large");
  }
  if (size == 0) return SecretBytes();
  const size_t klass = class_of(size);
  std::lock_guard lock(state_->mutex);
  Slab* slab = nullptr;
  if (klass != kLarge && !state_->with_room[klass].empty()) {
    slab = state_->with_room[klass].back();
  } else {
    auto mapped = state_->map_slab(klass, size);
    if (!mapped) return fail(mapped.error());
    slab = *mapped;
    if (klass != kLarge) state_->with_room[klass].push_back(slab);
  }
  uint8_t* slot = nullptr;
  if (slab->free_list != nullptr) {
    slot = static_cast<uint8_t*>(slab->free_list);
    std::memcpy(&slab->free_list, slot, sizeof(void*));
    std::memset(slot, 0, sizeof(void*));
  } else {
    slot = slab->slot(slab->never_used++);
  }
  ++slab->used;
  if (klass != kLarge && slab->full()) state_->with_room[klass].pop_back();
  ++state_->usage.secrets;
  state_->usage.used_bytes += slab->slot_bytes;
  return SecretBytes(slot, static_cast<uint32_t>(size));
}

void SecretArena::release(uint8_t* data) {
  auto* slab = reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(data) / kSlabBytes * kSlabBytes);
  State& state = *slab->owner;
  std::lock_guard lock(state.mutex);
  wipe({data, slab->slot_bytes});
  --state.usage.secrets;
  state.usage.used_bytes -= slab->slot_bytes;
  if (slab->klass == kLarge) {
    state.unmap_slab(slab);
    return;
  }
  auto& with_room = state.with_room[slab->klass];
  if (slab->full()) with_room.push_back(slab);
  std::memcpy(data, &slab->free_list, sizeof(void*));
  slab->free_list = data;
  // Keep one empty slab per class, so that a single secret that comes and goes does not map memory
  // each time.
  if (--slab->used == 0 && with_room.size() > 1) {
    std::erase(with_room, slab);
    state.unmap_slab(slab);
  }
}

Result<SecretBytes> SecretArena::copy_of(std::span<const uint8_t> bytes) {
  auto secret = allocate(bytes.size());
  if (secret && !bytes.empty()) {
    std::memcpy(secret->reveal_mutable().data(), bytes.data(), bytes.size());
  }
  return secret;
}

Result<SecretBytes> SecretArena::copy_of(std::string_view text) {
  return copy_of(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

SecretArena::Usage SecretArena::usage() const {
  std::lock_guard lock(state_->mutex);
  return state_->usage;
}

size_t SecretArena::lockable_bytes() {
  rlimit limit{};
  if (may_lock_anything() || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<size_t>::max();
  }
  return limit.rlim_cur;
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void SecretBytes::reset() {
  if (data_ != nullptr) SecretArena::release(std::exchange(data_, nullptr));
  size_ = 0;
}

void SecretBytes::truncate(size_t size) {
  if (size >= size_) return;
  if (size == 0) return reset();
  wipe({data_ + size, size_ - size});
  size_ = static_cast<uint32_t>(size);
}

bool SecretBytes::equals(std::span<const uint8_t> other) const {
  if (other.size() != size_) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < size_; ++i) difference |= static_cast<unsigned>(data_[i] ^ other[i]);
  return difference == 0;
}

Result<void> SecretBuffer::append(std::span<const uint8_t> bytes) {
  if (size_ + bytes.size() > bytes_.size()) {
    auto larger = arena_->allocate(std::max<size_t>(2 * bytes_.size(), size_ + bytes.size()));
    if (!larger) return fail(larger.error());
    if (size_ > 0) std::memcpy(larger->reveal_mutable().data(), bytes_.reveal().data(), size_);
    bytes_ = std::move(*larger);
  }
  if (!bytes.empty()) {
    std::memcpy(bytes_.reveal_mutable().data() + size_, bytes.data(), bytes.size());
  }
  size_ += bytes.size();
  return {};
}

Result<void> SecretBuffer::append(std::string_view text) {
  return append(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

void SecretBuffer::clear() {
  bytes_.reset();
  size_ = 0;
}

SecretBytes SecretBuffer::take() {
  bytes_.truncate(size_);
  size_ = 0;
  return std::move(bytes_);
}

}  // namespace keyfs
