#include "store/factory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "store/known_store.h"
#include "store/store_contract.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace files = std::filesystem;

class StoreFactory : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Store>> make(const std::string& text) {
    auto config = ConfigFile::parse(text, "f.ini");
    EXPECT_TRUE(config) << config.error().message;
    return make_store(*config, StoreParts{loop_, state_dir_, {}, {}});
  }
  Result<std::unique_ptr<Store>> make_sqlite() {
    return make("[store]\ntype = sqlite\npath = " + path_ + "\n");
  }
  std::string mistake(const std::string& text) {
    const auto store = make(text);
    if (store) return "(no mistake)";
    EXPECT_EQ(store.error().code, Code::kInvalid);
    return store.error().message;
  }
  bool put(Store& store, const std::string& id) {
    const TimePoint deadline = loop_.now() + std::chrono::seconds(20);
    const auto put = loop_.run_task(store.put_if_absent(example_record(id), deadline));
    return put && put->stored;
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("keys.db");
  std::string state_dir_ = directory_.file("state");
  SystemClock clock_;
  IdlePoller poller_;
  Loop loop_{clock_, poller_};
};

TEST_F(StoreFactory, makes_what_the_section_says) {
  const auto store = make_sqlite();
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE(put(**store, "orders"));
}

TEST_F(StoreFactory, tells_mistakes_with_their_line) {
  EXPECT_EQ(mistake("[keyfs]\n"), "f.ini: has no [store] section");
  EXPECT_EQ(mistake("[store]\npath = /x\n"),
            "f.ini:1: [store] type: is missing: sqlite or dynamodb or etcd");
  EXPECT_EQ(mistake("[store]\ntype = sqlit\n"),
            "f.ini:2: [store] type: unknown type sqlit: sqlite or dynamodb or etcd");
  EXPECT_THAT(mistake("[store]\ntype = sqlite\n"), StartsWith("f.ini:1: [store] path: "));
  EXPECT_EQ(mistake("[store]\ntype = sqlite\npath = keys.db\n"),
            "f.ini:3: [store] path: must be an absolute path");
  EXPECT_THAT(mistake("[store]\ntype = sqlite\npath = /x\ntable = y\n"),
              StartsWith("f.ini:4: [store] table: unknown key"));
  EXPECT_THAT(mistake("[store]\ntype = etcd\n"), HasSubstr("cannot be used here"));
}

TEST_F(StoreFactory, a_database_that_vanished_between_two_starts_is_not_made_anew) {
  ASSERT_TRUE(make_sqlite());
  for (const char* suffix : {"", "-wal", "-shm"}) files::remove(path_ + suffix);
  const auto store = make_sqlite();
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message,
              HasSubstr("Restore it, or, to start with a new one, run keyfs check --accept-store"));
  EXPECT_THAT(store.error().message, HasSubstr(state_dir_ + "/store-id"));
  EXPECT_FALSE(files::exists(path_));
  EXPECT_TRUE(*forget_known_store(state_dir_));
  EXPECT_FALSE(*forget_known_store(state_dir_));
  EXPECT_TRUE(make_sqlite());
}

TEST_F(StoreFactory, a_database_that_was_emptied_between_two_starts_is_not_filled_anew) {
  ASSERT_TRUE(make_sqlite());
  files::resize_file(path_, 0);
  const auto store = make_sqlite();
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr(path_ + ": is empty; this host has used"));
  EXPECT_EQ(files::file_size(path_), 0u);
}

TEST_F(StoreFactory, another_database_in_the_place_of_the_known_one_is_refused) {
  ASSERT_TRUE(make_sqlite());
  const std::string known = path_;
  path_ = directory_.file("other.db");
  const std::string state_dir = std::exchange(state_dir_, directory_.file("other"));
  ASSERT_TRUE(make_sqlite());
  state_dir_ = state_dir;
  const auto store = make_sqlite();
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kInvalid);
  EXPECT_THAT(store.error().message, HasSubstr("is not the store that this host has used so far"));
  path_ = known;
  EXPECT_TRUE(make_sqlite());
}

TEST_F(StoreFactory, a_store_of_another_type_in_the_place_of_the_known_one_is_refused) {
  ASSERT_TRUE(make_sqlite());
  const auto store = make("[store]\ntype = etcd\nendpoints = http://127.0.0.1:1\n");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kInvalid);
  EXPECT_THAT(store.error().message, HasSubstr("has used a store of type sqlite so far"));
  EXPECT_THAT(store.error().message, HasSubstr("keyfs check --accept-store"));
  ASSERT_TRUE(forget_known_store(state_dir_));
  EXPECT_THAT(make("[store]\ntype = etcd\n").error().message, HasSubstr("cannot be used here"));
}

TEST_F(StoreFactory, a_copy_of_the_known_database_is_welcome) {
  {
    const auto store = make_sqlite();
    ASSERT_TRUE(store && put(**store, "orders"));
  }
  const std::string copy = directory_.file("restored.db");
  files::copy_file(path_, copy);
  path_ = copy;
  const auto store = make_sqlite();
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_FALSE(put(**store, "orders"));
}

TEST_F(StoreFactory, a_damaged_memory_of_the_known_store_is_told) {
  files::create_directory(state_dir_);
  for (const char* text :
       {"", "sqlite", "sqlite \n", "sqlite abc", "a b c d\n", "a b \n", " b\n"}) {
    std::ofstream(state_dir_ + "/store-id") << text;
    const auto known = read_known_store(state_dir_);
    ASSERT_FALSE(known) << text;
    EXPECT_EQ(known.error().code, Code::kCorrupt);
    EXPECT_FALSE(make_sqlite());
  }
}

TEST_F(StoreFactory, a_fifo_in_the_place_of_the_known_store_is_refused_and_not_waited_for) {
  files::create_directory(state_dir_);
  ASSERT_EQ(::mkfifo((state_dir_ + "/store-id").c_str(), 0600), 0);
  const auto known = read_known_store(state_dir_);
  ASSERT_FALSE(known);
  EXPECT_THAT(known.error().message, HasSubstr("store-id: is not a regular file"));
  EXPECT_FALSE(make_sqlite());
}

TEST_F(StoreFactory, what_is_remembered_is_for_its_owner_only) {
  ASSERT_TRUE(make_sqlite());
  EXPECT_EQ(files::status(state_dir_ + "/store-id").permissions(),
            files::perms::owner_read | files::perms::owner_write);
}

}  // namespace
}  // namespace keyfs::testing
