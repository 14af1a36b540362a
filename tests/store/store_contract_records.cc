// What a store must do with the record itself: every field, its bounds, damage, another store's.
#include <gmock/gmock.h>

#include <limits>
#include <string>

#include "store/store_contract.h"

namespace keyfs::testing {

Record example_record(const std::string& id, const std::string& mark) {
  Record record;
  record.id = id;
  record.current = 1;
  Version& version = record.versions[1];
  version.created = "2026-11-22T03:46:00Z";
  version.creator = "host-" + mark;
  version.bytes = 32;
  version.check.emplace().fill(static_cast<uint8_t>(mark.front()));
  for (const char* region : {"us-east-1", "us-west-2", "eu-central-1"}) {
    Wrap& wrap = version.wrapped[region];
    wrap.master = std::string("arn:aws:kms:") + region + ":111122223333:key/k";
    wrap.blob = std::string(1, '\0') + region + mark + std::string(150, '\xff');
    wrap.at = version.created;
  }
  return record;
}

Record full_record(const std::string& id) {
  Record record = example_record(id);
  record.versions[2] = record.versions[3] = record.versions[1];
  record.current = 2;
  record.pending = 3;
  record.last = 7;
  record.min = 1;
  record.serial = 4;
  record.versions[1].wrapped.clear();
  record.versions[1].destroyed = "2026-11-24T00:00:00Z";
  record.versions[2].promoted = "2026-11-23T00:00:00Z";
  record.versions[3].token = "ticket-3";
  return record;
}

namespace {

using ::testing::HasSubstr;

TEST_P(StoreContract, every_field_of_a_record_survives_put_replace_get_and_list) {
  Record record = full_record("orders");
  const auto put = this->put(record);
  ASSERT_TRUE(put && put->stored) << put.error().message;
  EXPECT_EQ(put->winner.record, record);
  EXPECT_EQ((*get("orders"))->record, record);
  record.serial = std::numeric_limits<uint64_t>::max();
  record.min = 2;
  record.versions[1].token = "another ticket";
  const auto replaced = replace(record, put->winner.revision);
  ASSERT_TRUE(replaced && *replaced);
  EXPECT_EQ((*replaced)->record, record);
  EXPECT_EQ((*get("orders", Read::kStrong))->record, record);
  const auto listed = list_all(10);
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_FALSE(listed[0].corrupt);
  EXPECT_EQ(listed[0].current, record.current);
}

TEST_P(StoreContract, a_signing_keys_record_is_kept_and_listed_like_any_other) {
  Record record = example_record(".sign.ca");
  record.kind = std::string(kSigningKind);
  record.versions.at(1).type = "EC_P256";
  record.versions.at(1).public_key = std::string(91, '\x30');
  const auto put = this->put(record);
  ASSERT_TRUE(put && put->stored) << put.error().message;
  EXPECT_EQ((*get(".sign.ca", Read::kStrong))->record, record);
  record.state = KeyState::kDisabled;
  const auto replaced = replace(record, put->winner.revision);
  ASSERT_TRUE(replaced && *replaced);
  EXPECT_EQ((*replaced)->record, record);
  const auto listed = list_all(10);
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].id, ".sign.ca");
  EXPECT_FALSE(listed[0].corrupt);
}

TEST_P(StoreContract, a_record_that_is_bound_to_the_store_comes_back_equal_to_any_host) {
  Record record = example_record("orders");
  record.origin = *loop().run_task(store_->identity(deadline()));
  const auto put = this->put(record);
  ASSERT_TRUE(put && put->stored) << put.error().message;
  const auto stranger = under_test_->connect_stranger();
  for (const Read read : {Read::kAny, Read::kStrong}) {
    const auto found = loop().run_task(stranger->get("orders", read, deadline()));
    ASSERT_TRUE(found && *found) << found.error().message;
    EXPECT_EQ((*found)->record, record);
  }
}

TEST_P(StoreContract, a_record_that_was_copied_from_another_store_is_corrupt_to_every_call) {
  Record record = example_record("orders");
  const auto first = put(record);
  ASSERT_TRUE(first) << first.error().message;
  const std::string own = *loop().run_task(store_->identity(deadline()));
  record.origin = std::string(32, 'f');
  std::string raw = under_test_->read_raw("orders");
  raw.insert(raw.find("\"id\""), "\"origin\":\"" + record.origin + "\",");
  under_test_->write_raw("orders", raw);
  const auto stranger = under_test_->connect_stranger();
  for (Store* store : {store_.get(), stranger.get()}) {
    for (const Read read : {Read::kAny, Read::kStrong}) {
      const auto found = loop().run_task(store->get("orders", read, deadline()));
      ASSERT_FALSE(found);
      EXPECT_EQ(found.error().code, Code::kCorrupt) << found.error().message;
      EXPECT_THAT(found.error().message, HasSubstr("is bound to another store"));
      EXPECT_THAT(found.error().message, HasSubstr(own));
    }
    const auto put =
        loop().run_task(store->put_if_absent(example_record("orders", "b"), deadline()));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code, Code::kCorrupt) << put.error().message;
  }
  const auto listed = list_all(10);
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_TRUE(listed[0].corrupt);
  EXPECT_EQ(under_test_->read_raw("orders"), raw);
}

TEST_P(StoreContract, a_record_that_is_bound_to_another_store_is_not_written) {
  Record foreign = example_record("orders");
  foreign.origin = std::string(32, 'f');
  const auto refused = put(foreign);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid) << refused.error().message;
  EXPECT_FALSE(*get("orders"));
  const auto own = put(example_record("orders"));
  ASSERT_TRUE(own && own->stored);
  EXPECT_FALSE(replace(foreign, own->winner.revision));
  EXPECT_EQ((*get("orders"))->record, example_record("orders"));
}

TEST_P(StoreContract, the_text_that_goes_along_is_the_one_that_was_read) {
  const Record record = example_record("orders");
  ASSERT_TRUE(put(record));
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  const auto again = parse_record((*found)->json, "orders");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, record);
}

TEST_P(StoreContract, fields_of_a_later_keyfs_survive_a_rewrite) {
  Record record = example_record("orders");
  record.unknown = R"({"owner":"team-a","tags":{"b":[1,2.5,null]}})";
  record.versions[1].unknown = R"({"rotated":"2027-01-01"})";
  record.versions[1].wrapped["us-east-1"].unknown = R"({"algorithm":"x"})";
  ASSERT_TRUE(put(record));
  auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, record);
  (*found)->record.state = KeyState::kDisabled;
  const auto replaced = replace((*found)->record, (*found)->revision);
  ASSERT_TRUE(replaced && *replaced);
  record.state = KeyState::kDisabled;
  found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, record);
}

TEST_P(StoreContract, a_corrupt_record_is_an_error_and_is_never_overwritten) {
  const auto good = put(example_record("orders"));
  ASSERT_TRUE(good);
  const std::string raw = under_test_->read_raw("orders");
  std::string other_id = raw;
  other_id.replace(other_id.find("orders"), 6, "orderz");
  for (const std::string& bytes :
       {raw.substr(0, raw.size() / 2), std::string("not JSON"), std::string("{}"), other_id}) {
    under_test_->write_raw("orders", bytes);
    const auto found = get("orders");
    ASSERT_FALSE(found) << bytes;
    EXPECT_EQ(found.error().code, Code::kCorrupt) << found.error().message;
    EXPECT_THAT(found.error().message, HasSubstr("orders"));
    const auto put = this->put(example_record("orders", "b"));
    ASSERT_FALSE(put) << bytes;
    EXPECT_EQ(put.error().code, Code::kCorrupt) << put.error().message;
    EXPECT_EQ(under_test_->read_raw("orders"), bytes);
  }
  under_test_->write_raw("orders", raw);
  const auto again = get("orders");
  ASSERT_TRUE(again && *again);
  EXPECT_EQ((*again)->record, good->winner.record);
}

TEST_P(StoreContract, a_record_with_many_versions_and_regions_fits) {
  Record record = example_record("orders");
  for (uint32_t number = 2; number <= 50; ++number) {
    record.versions[number] = record.versions[1];
    for (int region = 0; region < 6; ++region) {
      record.versions[number].wrapped["region-" + std::to_string(region)] =
          record.versions[1].wrapped.at("us-east-1");
    }
  }
  record.current = 50;
  const auto put = this->put(record);
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_GT(under_test_->read_raw("orders").size(), 100'000u);
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, record);
}

TEST_P(StoreContract, a_record_that_could_not_be_read_again_is_not_written) {
  Record no_version = example_record("orders");
  no_version.current = 2;
  Record huge = example_record("orders");
  huge.unknown = R"({"x":")" + std::string(kMaxRecordBytes, 'x') + "\"}";
  Record from_rkms = example_record("orders");
  from_rkms.from_rkms = true;
  for (const Record& record : {no_version, huge, from_rkms}) {
    const auto put = this->put(record);
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code, Code::kInvalid) << put.error().message;
  }
  EXPECT_FALSE(*get("orders"));
}

}  // namespace
}  // namespace keyfs::testing
