#include "base/secret.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace keyfs {
namespace {

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_copy_assignable_v<SecretBytes>);

SecretBytes make(SecretArena& arena, std::string_view text) {
  return std::move(*arena.copy_of(text));
}

TEST(Secret, a_slot_is_wiped_when_it_is_given_back) {
  SecretArena arena;
  SecretBytes other = make(arena, "keeps the slab mapped, 32 bytes.");
  SecretBytes secret = make(arena, "the needle in this haystack, 32.");
  const uint8_t* where = secret.reveal().data();
  secret.reset();
  // The first bytes link the free slots; none of the rest may be unchanged.
  for (size_t i = sizeof(void*); i < 32; ++i) EXPECT_EQ(where[i], 0) << i;
}

TEST(Secret, truncating_wipes_the_rest) {
  SecretArena arena;
  SecretBytes secret = make(arena, "0123456789");
  const uint8_t* where = secret.reveal().data();
  secret.truncate(4);
  EXPECT_EQ(secret.reveal_text(), "0123");
  EXPECT_EQ(std::memcmp(where + 4, "\0\0\0\0\0\0", 6), 0);
}

TEST(Secret, memory_comes_zeroed_also_from_a_used_slot) {
  SecretArena arena;
  for (int round = 0; round < 3; ++round) {
    auto secret = arena.allocate(32);
    for (uint8_t byte : secret->reveal()) EXPECT_EQ(byte, 0);
    std::memset(secret->reveal_mutable().data(), 0xaa, 32);
  }
}

TEST(Secret, secrets_never_overlap_and_every_size_fits) {
  SecretArena arena;
  std::vector<SecretBytes> secrets;
  for (size_t size : {1u, 16u, 17u, 32u, 33u, 4096u, 16384u, 16385u, 200'000u}) {
    for (uint8_t i = 0; i < 9; ++i) {
      auto secret = arena.allocate(size);
      ASSERT_TRUE(secret);
      std::memset(secret->reveal_mutable().data(), i + 1, size);
      secrets.push_back(std::move(*secret));
    }
  }
  for (size_t i = 0; i < secrets.size(); ++i) {
    for (uint8_t byte : secrets[i].reveal()) ASSERT_EQ(byte, i % 9 + 1);
  }
}

TEST(Secret, ten_thousand_keys_of_32_bytes_lock_at_most_33_bytes_each) {
  SecretArena arena;
  std::vector<SecretBytes> keys;
  for (int i = 0; i < 10'000; ++i) keys.push_back(std::move(*arena.allocate(32)));
  EXPECT_LE(arena.usage().locked_bytes, 33u * 10'000 + 65'536);
  keys.clear();
  EXPECT_LE(arena.usage().locked_bytes, 65'536u) << "empty slabs were not given back";
  EXPECT_EQ(arena.usage().secrets, 0u);
}

// What the kernel reports for the mapping that contains `address`.
std::set<std::string> mapping_flags(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool here = false;
  while (std::getline(smaps, line)) {
    unsigned long low = 0;
    unsigned long high = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &low, &high) == 2) {
      const auto wanted = reinterpret_cast<unsigned long>(address);
      here = low <= wanted && wanted < high;
    } else if (here && line.starts_with("VmFlags:")) {
      std::set<std::string> flags;
      for (size_t at = 9; at + 2 <= line.size(); at += 3) flags.insert(line.substr(at, 2));
      return flags;
    }
  }
  return {};
}

TEST(Secret, memory_is_locked_not_dumped_and_wiped_on_fork) {
  SecretArena arena;
  SecretBytes secret = make(arena, "x");
  const auto flags = mapping_flags(secret.reveal().data());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they make mlock do nothing
  EXPECT_TRUE(flags.contains("lo")) << "not locked";
#endif
  EXPECT_TRUE(flags.contains("dd")) << "would be in a core dump";
  EXPECT_TRUE(flags.contains("wf")) << "would be seen by a child";
}

TEST(Secret, a_forked_child_sees_zeros) {
  SecretArena arena;
  SecretBytes secret = make(arena, "0123456789abcdef");
  const uint8_t* where = secret.reveal().data();
  const pid_t child = fork();
  if (child == 0) {
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum |= where[i];
    _exit(sum == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Secret, equals_compares_contents) {
  SecretArena arena;
  SecretBytes a = make(arena, "same");
  SecretBytes b = make(arena, "same");
  SecretBytes c = make(arena, "sane");
  EXPECT_TRUE(a.equals(b.reveal()));
  EXPECT_FALSE(a.equals(c.reveal()));
  EXPECT_FALSE(a.equals(c.reveal().first(3)));
}

#if defined(__x86_64__)
TEST(Secret, nothing_is_left_in_the_registers_that_it_was_copied_through) {
  alignas(64) std::array<uint8_t, 64> copied;
  copied.fill(0x5a);
  const std::array<uint8_t, 64> none{};
  std::array<uint8_t, 16> left{};  // before: to clear it uses registers
  asm volatile("movdqa %0, %%xmm5" ::"m"(copied) : "xmm5");
  wipe_registers();
  asm volatile("movdqu %%xmm5, %0" : "=m"(left));
  EXPECT_EQ(left, (std::array<uint8_t, 16>{}));
  if (!__builtin_cpu_supports("avx512f")) return;
  copied.fill(0x5a);
  alignas(64) std::array<uint8_t, 64> high = copied;
  asm volatile("vmovdqa64 %0, %%zmm5\n vmovdqa64 %0, %%zmm20" ::"m"(high) : "xmm5");
  wipe_registers();
  asm volatile("vmovdqa64 %%zmm5, %0\n vmovdqa64 %%zmm20, %1" : "=m"(copied), "=m"(high));
  EXPECT_EQ(copied, none);
  EXPECT_EQ(high, none);
}
#endif

TEST(SecretBuffer, grows_and_leaves_no_old_copy_behind) {
  SecretArena arena;
  SecretBuffer buffer(arena);
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(buffer.append("chunk"));
    expected += "chunk";
  }
  EXPECT_EQ(buffer.reveal_text(), expected);
  EXPECT_EQ(arena.usage().secrets, 1u);
  SecretBytes taken = buffer.take();
  EXPECT_EQ(taken.reveal_text(), expected);
  EXPECT_EQ(buffer.size(), 0u);
}

}  // namespace
}  // namespace keyfs
