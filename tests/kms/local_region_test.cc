#include "kms/local_region.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/encoding.h"
#include "kms/local_fixture.h"
#include "kms/region_contract.h"
#include "support/fake_time.h"
#include "support/memory_region.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(Local, RegionContract,
                         ::testing::Values(+[]() -> std::unique_ptr<RegionFixture> {
                           return std::make_unique<LocalFixture>();
                         }));

class MemoryFixture final : public RegionFixture {
 public:
  Loop& loop() override { return time_.loop; }
  SecretArena& arena() override { return arena_; }
  Region& region() override { return *region_; }

 private:
  SecretArena arena_;
  FakeTimeLoop time_;
  OsRandom random_;
  std::unique_ptr<Region> region_ = memory_region(time_.loop, arena_, random_, "memory");
};
INSTANTIATE_TEST_SUITE_P(Memory, RegionContract,
                         ::testing::Values(+[]() -> std::unique_ptr<RegionFixture> {
                           return std::make_unique<MemoryFixture>();
                         }));

struct LocalRegionTest : ::testing::Test {
  TimePoint soon() { return at.loop().now() + std::chrono::seconds(30); }
  Result<GeneratedKey> generate() {
    return at.loop().run_task(at.region().generate(32, context, soon()));
  }
  Result<SecretBytes> unwrap(const WrappedKey& wrapped) {
    return at.loop().run_task(at.region().unwrap(wrapped, context, soon()));
  }
  Error error_of_generate() {
    auto generated = generate();
    EXPECT_FALSE(generated);
    return generated ? Error(Code::kInvalid, "it was served") : generated.error();
  }

  LocalFixture at;
  EncryptionContext context = key_context("orders", 1);
};

TEST_F(LocalRegionTest, no_byte_of_the_blob_can_be_changed) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  for (size_t i = 0; i < generated->wrapped.blob.size(); ++i) {
    WrappedKey changed = generated->wrapped;
    changed.blob[i] ^= 0x20;
    const auto key = unwrap(changed);
    ASSERT_FALSE(key) << "byte " << i;
    EXPECT_EQ(key.error().code, Code::kCorrupt) << "byte " << i;
  }
}

TEST_F(LocalRegionTest, pairs_of_the_context_cannot_be_shifted_into_each_other) {
  context = {{"ab", "c"}, {"d", "e"}};
  auto generated = generate();
  ASSERT_TRUE(generated);
  for (const EncryptionContext& other :
       {EncryptionContext{{"a", "bc"}, {"d", "e"}}, EncryptionContext{{"ab", "cd"}, {"", "e"}},
        EncryptionContext{{"ab", "c"}}, EncryptionContext{{"ab", "c"}, {"d", "e"}, {"f", ""}}}) {
    context = other;
    const auto key = unwrap(generated->wrapped);
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().code, Code::kCorrupt);
  }
}

TEST_F(LocalRegionTest, the_blob_is_laid_out_as_documented) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  const auto& wrapped = generated->wrapped;
  EXPECT_EQ(wrapped.blob.size(), 1u + 8 + 12 + 32 + 16);
  EXPECT_EQ(wrapped.blob[0], 1);
  std::string print;
  for (size_t i = 1; i < 9; ++i) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(wrapped.blob[i]));
    print += hex;
  }
  EXPECT_EQ(wrapped.master, "local:" + print);
}

// Made by another implementation (Python's cryptography) from the layout in the header.
TEST_F(LocalRegionTest, a_blob_of_version_1_unwraps_for_ever) {
  std::string master(32, '\0');
  for (size_t i = 0; i < master.size(); ++i) master[i] = static_cast<char>(i);
  at.write_file(master);
  at.build();
  const auto blob = hex_decode(
      "0135aed1867575c8bc6465666768696a6b6c6d6e6f782aec554ddc60a9065b3e8ab9010f9b72f334"
      "39bf59c5459fe8cd2a98c7c02e0f76e59e2dad8ef4395a522602a87143");
  ASSERT_TRUE(blob);
  WrappedKey wrapped{"local:35aed1867575c8bc", std::string(blob->begin(), blob->end())};
  const auto key = unwrap(wrapped);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(key->reveal_text(), "0123456789abcdef0123456789abcdef");
}

TEST_F(LocalRegionTest, a_blob_of_another_master_is_corrupt_and_told_apart_from_a_damaged_one) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  at.write_file(std::string(31, 'x') + "y");
  const auto other = unwrap(generated->wrapped);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::kCorrupt);
  EXPECT_THAT(other.error().message, HasSubstr("wrapped by a different master key (local:"));
}

struct PreviousMasters : LocalRegionTest {
  // The master becomes a previous one, in `old`, and another one takes its place.
  void change_master(const std::string& old) {
    std::filesystem::rename(at.file, old);
    ASSERT_TRUE(create_master_file(at.file, at.arena(), at.random).value());
    previous.push_back(old);
    const RegionParts parts{at.loop(), at.arena(), at.random, {}};
    region = make_local_region(parts, "local-a", at.file, previous);
  }
  Result<SecretBytes> unwrap_now(const WrappedKey& wrapped) {
    return at.loop().run_task(region->unwrap(wrapped, context, soon()));
  }
  Result<WrappedKey> wrap_now(const SecretBytes& key) {
    return at.loop().run_task(region->wrap(key, context, soon()));
  }

  std::vector<std::string> previous;
  std::unique_ptr<Region> region;
};

TEST_F(PreviousMasters, unwrap_what_they_wrapped_and_wrap_nothing) {
  const auto first = generate();
  ASSERT_TRUE(first);
  change_master(at.folder + "/old1.key");
  const auto second = at.loop().run_task(region->generate(32, context, soon()));
  ASSERT_TRUE(second);
  change_master(at.folder + "/old2.key");
  for (const auto* generated : {&*first, &*second}) {
    const auto key = unwrap_now(generated->wrapped);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_TRUE(key->equals(generated->key.reveal()));
    EXPECT_TRUE(region->unwraps(generated->wrapped.master));
    EXPECT_TRUE(region->had_master(generated->wrapped.master));
    EXPECT_TRUE(region->is_other_master(generated->wrapped.master));
    EXPECT_FALSE(region->covered_by(generated->wrapped.master));
  }
  const auto wrapped = wrap_now(first->key);
  ASSERT_TRUE(wrapped);
  EXPECT_EQ(wrapped->master, region->master());
  EXPECT_TRUE(region->covered_by(wrapped->master));
  EXPECT_FALSE(region->had_master(wrapped->master));
  EXPECT_FALSE(region->is_other_master(wrapped->master));
}

TEST_F(PreviousMasters, one_that_is_missing_takes_only_its_own_wraps_away) {
  const auto first = generate();
  ASSERT_TRUE(first);
  change_master(at.folder + "/old.key");
  const auto second = wrap_now(first->key);
  ASSERT_TRUE(second);
  std::filesystem::remove(at.folder + "/old.key");
  EXPECT_TRUE(unwrap_now(*second));
  const auto lost = unwrap_now(first->wrapped);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kUnavailable) << "it may come back: nothing is corrupt";
  const auto checked = at.loop().run_task(region->check(soon()));
  const auto& item = checked.items.back();
  EXPECT_EQ(item.what, "previous master key readable");
  EXPECT_FALSE(item.ok);
  EXPECT_FALSE(item.essential);
}

TEST_F(PreviousMasters, still_unwrap_while_the_present_one_is_missing) {
  const auto first = generate();
  ASSERT_TRUE(first);
  change_master(at.folder + "/old.key");
  std::filesystem::remove(at.file);
  EXPECT_TRUE(unwrap_now(first->wrapped));
  EXPECT_FALSE(wrap_now(first->key));
}

TEST_F(LocalRegionTest, a_record_that_names_another_master_is_corrupt) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  generated->wrapped.master = "local:0000000000000000";
  const auto key = unwrap(generated->wrapped);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Code::kCorrupt);
}

TEST_F(LocalRegionTest, a_master_that_vanished_is_unavailable_and_put_back_serves_the_same_bytes) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  const std::string master = at.read_file();
  std::filesystem::remove(at.file);
  const auto gone = unwrap(generated->wrapped);
  ASSERT_FALSE(gone) << "what was read once is not used once the file is gone";
  EXPECT_EQ(gone.error().code, Code::kUnavailable);
  EXPECT_EQ(gone.error().message,
            "master key " + at.file + ": does not exist; restore it from its backup");
  at.write_file(master);
  auto back = unwrap(generated->wrapped);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(back->equals(generated->key.reveal()));
}

TEST_F(LocalRegionTest, a_master_that_is_missing_at_the_start_is_found_when_it_comes) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  const std::string master = at.read_file();
  std::filesystem::remove(at.file);
  at.build();
  EXPECT_EQ(error_of_generate().code, Code::kUnavailable);
  EXPECT_FALSE(at.region().unwraps(generated->wrapped.master));
  at.write_file(master);
  EXPECT_TRUE(unwrap(generated->wrapped));
  EXPECT_TRUE(at.region().unwraps(generated->wrapped.master));
}

TEST_F(LocalRegionTest, a_master_that_others_can_use_is_refused_with_the_remedy) {
  for (const mode_t mode : {0644, 0640, 0604, 0602, 0610}) {
    ASSERT_EQ(::chmod(at.file.c_str(), mode), 0);
    const Error error = error_of_generate();
    EXPECT_EQ(error.code, Code::kUnavailable);
    EXPECT_THAT(error.message, HasSubstr("others can use it (mode 06"));
    EXPECT_THAT(error.message, HasSubstr("run: chmod 600 " + at.file));
  }
  ASSERT_EQ(::chmod(at.file.c_str(), 0400), 0);
  EXPECT_TRUE(generate());
}

TEST_F(LocalRegionTest, a_master_of_another_owner_is_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(at.file.c_str(), 12345, 0), 0);
  const Error error = error_of_generate();
  EXPECT_EQ(error.code, Code::kUnavailable);
  EXPECT_THAT(error.message, HasSubstr("is owned by uid 12345, and keyfs runs as uid 0"));
}

TEST_F(LocalRegionTest, a_symbolic_link_a_folder_and_a_fifo_are_refused_at_once) {
  std::filesystem::rename(at.file, at.file + ".real");
  std::filesystem::create_symlink(at.file + ".real", at.file);
  EXPECT_EQ(error_of_generate().code, Code::kUnavailable);
  std::filesystem::remove(at.file);
  std::filesystem::create_directory(at.file);
  EXPECT_EQ(error_of_generate().code, Code::kUnavailable);
  std::filesystem::remove(at.file);
  ASSERT_EQ(::mkfifo(at.file.c_str(), 0600), 0);
  EXPECT_EQ(error_of_generate().code, Code::kUnavailable);
}

TEST_F(LocalRegionTest, a_master_of_another_size_or_of_one_byte_repeated_is_not_used) {
  for (const size_t size : {0, 31, 33, 64}) {
    at.write_file(std::string(size, 'x') + "");
    EXPECT_THAT(error_of_generate().message,
                HasSubstr("has " + std::to_string(size) + " bytes instead of 32"));
  }
  at.write_file(std::string(32, '\0'));
  EXPECT_THAT(error_of_generate().message, HasSubstr("holds the same byte 32 times"));
}

TEST_F(LocalRegionTest, a_master_that_is_replaced_is_read_anew) {
  auto one = generate();
  at.write_file("another master of 32 bytes......");
  auto two = generate();
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->wrapped.master, two->wrapped.master);
}

TEST_F(LocalRegionTest, check_says_what_is_wrong_with_the_file) {
  ASSERT_EQ(::chmod(at.file.c_str(), 0644), 0);
  auto checked = at.loop().run_task(at.region().check(soon()));
  ASSERT_EQ(checked.items.size(), 1u);
  EXPECT_FALSE(checked.items[0].ok);
  EXPECT_THAT(checked.items[0].detail, HasSubstr("chmod 600"));
  EXPECT_FALSE(checked.items[0].remedy.empty());
}

}  // namespace
}  // namespace keyfs::testing
