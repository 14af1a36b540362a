#include "fs/daemon/lost_store_id.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fs/keys/replica_db.h"
#include "store/known_store.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

struct LostStoreId : ::testing::Test {
  void sees(const std::string& id, const std::string& json) {
    ASSERT_TRUE(ReplicaDb::begin(clock, replica));
    const auto db = ReplicaDb::open(clock, replica);
    ASSERT_TRUE(db) << db.error().message;
    ASSERT_TRUE((*db)->write({{id, json, "1", 1}}));
  }
  static std::string of(const std::string& origin) {
    return R"({"keyfs":1,"origin":")" + origin + R"("})";
  }
  Result<void> find() { return find_lost_store_id(clock, dir.path(), "sqlite"); }
  Result<void> meet(const std::string& id) {
    return check_known_store(dir.path(), StoreName{"sqlite", id}, "/keys.db");
  }
  bool knows_a_store() { return read_known_store(dir.path())->has_value(); }

  SystemClock clock;
  testing::TemporaryDirectory dir;
  const std::string replica = dir.file("replica.db");
};

TEST_F(LostStoreId, a_host_whose_records_name_a_store_takes_no_other_for_its_own) {
  sees("old", R"({"keyfs":1})");
  sees("orders", of("first"));
  sees("rkms", kSeenRkms);
  sees("damaged", kSeenUnproven);
  ASSERT_TRUE(find());
  const auto other = meet("second");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::kInvalid);
  EXPECT_NE(other.error().message.find("is not the store that this host has used so far"),
            std::string::npos)
      << other.error().message;
  EXPECT_TRUE(meet("first"));
}

TEST_F(LostStoreId, a_host_is_new_without_records_or_with_those_that_name_no_store) {
  ASSERT_TRUE(find());
  sees("old", R"({"keyfs":1})");
  sees("rkms", kSeenRkms);
  sees("damaged", kSeenUnproven);
  ASSERT_TRUE(find());
  EXPECT_FALSE(knows_a_store());
  EXPECT_TRUE(meet("any"));
}

TEST_F(LostStoreId, the_operators_word_holds_until_the_next_store_is_known) {
  sees("orders", of("first"));
  ASSERT_TRUE(forget_known_store(dir.path()));
  for (int restart = 0; restart < 2; ++restart) ASSERT_TRUE(find());
  EXPECT_FALSE(knows_a_store());
  ASSERT_TRUE(meet("second"));
  ASSERT_TRUE(find());
  EXPECT_TRUE(meet("second"));
  std::filesystem::remove(dir.file("store-id"));
  ASSERT_TRUE(find());
  EXPECT_FALSE(meet("second")) << "one word is for one store";
}

TEST_F(LostStoreId, records_of_several_stores_do_not_tell_which_was_the_last) {
  sees("orders", of("first"));
  sees("other", of("second"));
  const auto found = find();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kInvalid);
  EXPECT_NE(found.error().message.find("keyfs check --accept-store"), std::string::npos);
  EXPECT_FALSE(knows_a_store());
  ASSERT_TRUE(forget_known_store(dir.path()));
  EXPECT_TRUE(find());
}

TEST_F(LostStoreId, what_cannot_be_told_is_not_taken_for_new) {
  sees("orders", "no JSON");
  auto found = find();
  ASSERT_FALSE(found) << "a damaged record";
  EXPECT_NE(found.error().code, Code::kInvalid) << "keys can be read";
  std::filesystem::remove(replica);
  std::ofstream(replica) << std::string(8192, 'x');
  found = find();
  ASSERT_FALSE(found) << "a damaged file";
  EXPECT_NE(found.error().code, Code::kInvalid);
  EXPECT_FALSE(knows_a_store());
}

}  // namespace
}  // namespace keyfs
