#include "kms/master_key.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <set>
#include <thread>
#include <vector>

#include "kms/local_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;

struct CreateMasterFile : ::testing::Test {
  std::set<std::string> names_in_folder() {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(at.folder)) {
      names.insert(entry.path().filename());
    }
    return names;
  }
  LocalFixture at;
};

TEST_F(CreateMasterFile, makes_32_random_bytes_that_only_the_owner_can_read) {
  struct stat about {};
  ASSERT_EQ(::stat(at.file.c_str(), &about), 0);
  EXPECT_EQ(about.st_size, 32);
  EXPECT_EQ(about.st_mode & 07777, 0600u);
  const std::string other = at.folder + "/b.key";
  ASSERT_TRUE(create_master_file(other, at.arena(), at.random).value());
  std::ifstream in(other, std::ios::binary);
  EXPECT_NE(std::string(std::istreambuf_iterator<char>(in), {}), at.read_file());
}

TEST_F(CreateMasterFile, the_umask_does_not_matter) {
  const mode_t before = ::umask(0777);
  const auto made = create_master_file(at.folder + "/b.key", at.arena(), at.random);
  ::umask(before);
  ASSERT_TRUE(made) << made.error().message;
  struct stat about {};
  ASSERT_EQ(::stat((at.folder + "/b.key").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0600u);
}

TEST_F(CreateMasterFile, leaves_a_file_that_is_there_as_it_is) {
  const std::string before = at.read_file();
  const auto made = create_master_file(at.file, at.arena(), at.random);
  ASSERT_TRUE(made);
  EXPECT_FALSE(*made);
  EXPECT_EQ(at.read_file(), before);
}

TEST_F(CreateMasterFile, does_not_follow_a_link_that_leads_nowhere) {
  std::filesystem::create_symlink(at.folder + "/elsewhere", at.folder + "/b.key");
  const auto made = create_master_file(at.folder + "/b.key", at.arena(), at.random);
  ASSERT_TRUE(made);
  EXPECT_FALSE(*made);
  EXPECT_FALSE(std::filesystem::exists(at.folder + "/elsewhere"));
}

TEST_F(CreateMasterFile, of_several_at_once_one_makes_it_and_nothing_is_left_over) {
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto one = create_master_file(at.folder + "/b.key", at.arena(), at.random);
      made += one && *one;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(names_in_folder(), (std::set<std::string>{"a.key", "b.key"}));
}

TEST_F(CreateMasterFile, says_why_it_cannot) {
  const auto made = create_master_file(at.folder + "/no/b.key", at.arena(), at.random);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message,
            "could not create master key " + at.folder + "/no/b.key: No such file or directory");
}

TEST_F(CreateMasterFile, without_randomness_there_is_no_file) {
  struct NoRandom final : Random {
    Result<void> fill(std::span<uint8_t>) override { return fail_now(); }
    static Result<void> fail_now() { return keyfs::fail(Code::kUnavailable, "no entropy"); }
  } none;
  EXPECT_FALSE(create_master_file(at.folder + "/b.key", at.arena(), none));
  EXPECT_EQ(names_in_folder(), (std::set<std::string>{"a.key"}));
}

TEST(MasterKey, its_name_is_a_fingerprint_that_tells_masters_apart) {
  SecretArena arena;
  auto one = make_master_key(arena.copy_of("0123456789abcdef0123456789abcdef").value());
  auto same = make_master_key(arena.copy_of("0123456789abcdef0123456789abcdef").value());
  auto other = make_master_key(arena.copy_of("0123456789abcdef0123456789abcdeF").value());
  ASSERT_TRUE(one && same && other);
  EXPECT_EQ((*one)->name, (*same)->name);
  EXPECT_NE((*one)->name, (*other)->name);
  EXPECT_EQ((*one)->name.size(), std::string("local:").size() + 16);
}

TEST(MasterKey, another_size_is_refused) {
  SecretArena arena;
  EXPECT_FALSE(make_master_key(arena.copy_of("short").value()));
}

}  // namespace
}  // namespace keyfs::testing
