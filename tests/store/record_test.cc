#include "store/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "store/store_contract.h"

namespace keyfs {
namespace {

using testing::example_record;
using testing::full_record;
using ::testing::HasSubstr;
using ::testing::Not;

// As in the README.
constexpr std::string_view kGood = R"({
  "keyfs": 1, "id": "orders", "state": "enabled", "current": 1,
  "versions": {"1": {
    "created": "2026-11-22T03:46:00Z", "creator": "app-7", "bytes": 32,
    "check": "000102030405060708090a0b0c0d0e0f",
    "wrapped": {
      "us-east-1": {"key": "arn:aws:kms:us-east-1:111122223333:key/1", "blob": "AAEC/w==",
                    "at": "2026-11-22T03:46:00Z"}
    }}}
})";

std::string with(std::string_view what, std::string_view instead) {
  std::string text(kGood);
  const auto at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), instead);
}

std::string why_corrupt(std::string_view text) {
  const auto record = parse_record(text, "orders");
  if (record) return "(it parses)";
  EXPECT_EQ(record.error().code, Code::kCorrupt);
  EXPECT_THAT(record.error().message, ::testing::StartsWith("record of key orders is corrupt: "));
  return record.error().message.substr(std::string("record of key orders is corrupt: ").size());
}

TEST(Record, parses_what_the_manual_shows) {
  const auto record = parse_record(kGood, "orders");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->id, "orders");
  EXPECT_EQ(record->state, KeyState::kEnabled);
  EXPECT_EQ(record->current, 1u);
  EXPECT_EQ(record->unknown, "");
  EXPECT_FALSE(record->from_rkms);
  const Version& version = record->versions.at(1);
  EXPECT_EQ(version.created, "2026-11-22T03:46:00Z");
  EXPECT_EQ(version.creator, "app-7");
  EXPECT_EQ(version.bytes, 32u);
  EXPECT_EQ(version.check->at(15), 15);
  const Wrap& wrap = version.wrapped.at("us-east-1");
  EXPECT_EQ(wrap.master, "arn:aws:kms:us-east-1:111122223333:key/1");
  EXPECT_EQ(wrap.blob, std::string("\0\1\2\xff", 4));
}

TEST(Record, is_written_in_one_line_and_read_back_equal) {
  const Record record = example_record("orders");
  const auto text = to_json(record);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_THAT(*text, Not(HasSubstr("\n")));
  const auto again = parse_record(*text, "orders");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, record);
}

TEST(Record, with_every_optional_field_is_read_back_equal) {
  Record record = full_record("orders");
  record.origin = "store-1";
  record.serial = std::numeric_limits<uint64_t>::max();
  const auto text = to_json(record);
  ASSERT_TRUE(text) << text.error().message;
  const auto again = parse_record(*text, "orders");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, record);
  EXPECT_TRUE(again->unknown.empty());
}

TEST(Record, of_an_older_keyfs_reads_and_is_rewritten_without_a_new_field) {
  const auto record = parse_record(kGood, "orders");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->origin, "");
  EXPECT_EQ(record->serial, 0u);
  EXPECT_EQ(record->last, 0u);
  EXPECT_EQ(record->min, 0u);
  EXPECT_EQ(record->pending, 0u);
  const auto text = to_json(*record);
  ASSERT_TRUE(text);
  for (const char* name :
       {"origin", "serial", "last", "min", "pending", "token", "promoted", "destroyed"}) {
    EXPECT_THAT(*text, Not(HasSubstr(name)));
  }
}

TEST(Record, whose_optional_fields_contradict_the_rest_is_corrupt) {
  const auto why = [](const std::string& field) {
    return why_corrupt(with(R"("keyfs": 1,)", R"("keyfs": 1, )" + field + ","));
  };
  EXPECT_EQ(why(R"("pending": 2)"), "version 2 is pending but missing");
  EXPECT_EQ(why(R"("min": 2)"), "the current version is below min");
  EXPECT_THAT(why(R"("serial": 0)"), HasSubstr("serial is not a number from 1"));
  EXPECT_THAT(why(R"("serial": "1")"), HasSubstr("serial is not a number from 1"));
  EXPECT_THAT(why(R"("origin": "")"), HasSubstr("origin is empty"));
  EXPECT_THAT(why(R"("origin": null)"), HasSubstr("origin is missing or is no text"));
  EXPECT_EQ(why_corrupt(with(R"("bytes")", R"("destroyed": "2026-11-24T00:00:00Z", "bytes")")),
            "version 1: was destroyed but still has wraps");
  Record record = full_record("orders");
  record.last = 2;
  const auto text = to_json(record);
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message,
              HasSubstr("version 2 is the last one, but there are higher ones"));
}

TEST(Record, keeps_fields_it_does_not_know_at_every_level) {
  std::string text = with(R"("keyfs": 1,)", R"("keyfs": 1, "owner": {"team": ["a", 1, 2.5]},)");
  text.replace(text.find(R"("bytes")"), 0, R"("rotate": true, )");
  text.replace(text.find(R"("blob")"), 0, R"("alg": null, )");
  const auto record = parse_record(text, "orders");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->unknown, R"({"owner":{"team":["a",1,2.5]}})");
  EXPECT_EQ(record->versions.at(1).unknown, R"({"rotate":true})");
  EXPECT_EQ(record->versions.at(1).wrapped.at("us-east-1").unknown, R"({"alg":null})");
  const auto again = parse_record(*to_json(*record), "orders");
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *record);
}

TEST(Record, of_another_id_is_corrupt) {
  const auto record = parse_record(kGood, "Orders");
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Code::kCorrupt);
  EXPECT_EQ(record.error().message, "record of key Orders is corrupt: belongs to another id");
}

TEST(Record, cut_short_at_any_byte_is_corrupt) {
  for (size_t size = 0; size < kGood.size(); ++size) {
    EXPECT_FALSE(parse_record(kGood.substr(0, size), "orders")) << size;
  }
}

TEST(Record, tells_what_is_wrong_with_it) {
  EXPECT_EQ(why_corrupt("[]"), "is not an object");
  EXPECT_EQ(why_corrupt(R"("keyfs": 1})"), "is not JSON, or is truncated");
  EXPECT_EQ(why_corrupt("{}"), "is not a keyfs record: it has no format number");
  EXPECT_EQ(why_corrupt(R"({"keyfs": 2})"),
            "has format 2, which this version of keyfs does not know");
  EXPECT_EQ(why_corrupt(with(R"("enabled")", R"("Enabled")")),
            "state is not one of enabled, disabled, deleted");
  EXPECT_EQ(why_corrupt(with(R"("current": 1)", R"("current": 2)")),
            "version 2 is current but missing");
  EXPECT_EQ(why_corrupt(with("0e0f", "0e")), "version 1: check is 15 bytes, not 16");
  EXPECT_EQ(why_corrupt(with("0e0f", "0e0g")), "version 1: check is not hexadecimal");
  EXPECT_EQ(why_corrupt(with(R"("check")", R"("chick")")),
            "version 1: check is missing or is no text");
  EXPECT_EQ(why_corrupt(with("AAEC/w==", "AAEC/w=")),
            "version 1: region us-east-1: blob is not base64");
  EXPECT_EQ(why_corrupt(with("AAEC/w==", "")),
            "version 1: region us-east-1: blob is empty, too long or not printable");
  EXPECT_EQ(why_corrupt(with(R"("app-7")", R"("app\n7")")),
            "version 1: creator is empty, too long or not printable");
}

TEST(Record, takes_only_canonical_version_numbers) {
  for (const char* number : {"0", "01", "+1", "-1", "1.0", " 1", "", "4294967296", "1e0", "x"}) {
    EXPECT_EQ(why_corrupt(with(R"({"1": {)", "{\"" + std::string(number) + "\": {")),
              "a version number is malformed")
        << number;
  }
}

TEST(Record, takes_only_whole_numbers_within_bounds) {
  for (const char* number : {"0", "-1", "1.0", "4097", "\"32\"", "1e1", "true", "null", "[32]"}) {
    EXPECT_EQ(why_corrupt(with("32", number)), "version 1: bytes is not a number from 1 to 4096")
        << number;
  }
  for (const char* number : {"0", "-1", "4294967296", "\"1\""}) {
    EXPECT_THAT(why_corrupt(with(R"("current": 1)", R"("current": )" + std::string(number))),
                HasSubstr("current is not a number"));
  }
  EXPECT_EQ(why_corrupt(with(R"("keyfs": 1,)", R"("keyfs": 1, "n": 123456789012345678901234567,)")),
            "has a number that does not fit in 64 bits");
}

TEST(Record, with_a_key_that_stands_twice_is_corrupt) {
  EXPECT_EQ(why_corrupt(with(R"("current": 1)", R"("current": 1, "current": 1)")),
            "has a duplicate key");
  EXPECT_EQ(why_corrupt(with(R"("current": 1)", R"("current": 1, "\u0063urrent": 1)")),
            "has a duplicate key");
  EXPECT_EQ(why_corrupt(with(R"("keyfs": 1,)", R"("keyfs": 1, "x": [{"a": 1, "a": 2}],)")),
            "has a duplicate key");
}

TEST(Record, that_is_deep_or_long_is_corrupt_and_does_no_harm) {
  EXPECT_EQ(why_corrupt(std::string(100'000, '[')), "is nested deeper than 32 levels");
  const std::string deep = with(
      R"("keyfs": 1,)", R"("keyfs": 1, "x": )" + std::string(40, '[') + std::string(40, ']') + ",");
  EXPECT_EQ(why_corrupt(deep), "is nested deeper than 32 levels");
  EXPECT_EQ(why_corrupt(std::string(kMaxRecordBytes + 1, ' ')), "has more than 262144 bytes");
}

TEST(Record, a_message_quotes_neither_blobs_nor_unknown_fields) {
  const std::string text = with("AAEC/w==", "SECRETBLOB!");
  EXPECT_THAT(why_corrupt(text), Not(HasSubstr("SECRET")));
  EXPECT_THAT(why_corrupt(with(R"("keyfs": 1,)", R"("keyfs": 1, "SECRET": tru,)")),
              Not(HasSubstr("SECRET")));
}

TEST(Record, that_would_not_be_read_again_is_not_written) {
  const auto refused = [](auto change) {
    Record record = example_record("orders");
    change(record);
    const auto text = to_json(record);
    return !text && text.error().code == Code::kInvalid;
  };
  EXPECT_FALSE(refused([](Record&) {}));
  EXPECT_TRUE(refused([](Record& r) { r.from_rkms = true; }));
  EXPECT_TRUE(refused([](Record& r) { r.current = 7; }));
  EXPECT_TRUE(refused([](Record& r) { r.id = ""; }));
  EXPECT_TRUE(refused([](Record& r) { r.unknown = R"({"id":"other"})"; }));
  EXPECT_TRUE(refused([](Record& r) { r.unknown = "not JSON"; }));
  EXPECT_TRUE(refused([](Record& r) { r.versions[1].check.reset(); }));
  EXPECT_TRUE(refused([](Record& r) { r.versions[1].bytes = 0; }));
  EXPECT_TRUE(refused([](Record& r) { r.versions[1].creator = "\xff"; }));
  EXPECT_TRUE(refused([](Record& r) { r.versions[1].wrapped["us-east-1"].blob = ""; }));
}

TEST(Record, of_a_signing_key_is_told_by_its_id_and_its_kind_together) {
  const auto text_of = [](std::string_view id, std::string_view kind, std::string_view version) {
    std::string text =
        with(R"("id": "orders")", R"("id": ")" + std::string(id) + "\"" + std::string(kind));
    return text.insert(text.find(R"("bytes")"), version);
  };
  constexpr std::string_view kKind = R"(, "kind": "signing")";
  constexpr std::string_view kHalf = R"("type": "EC_P256", "public": "AAEC/w==", )";
  const auto good = parse_record(text_of(".sign.ca", kKind, kHalf), ".sign.ca");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->kind, "signing");
  EXPECT_EQ(good->versions.at(1).type, "EC_P256");
  EXPECT_EQ(good->versions.at(1).public_key, std::string("\0\1\2\xff", 4));
  EXPECT_EQ(*parse_record(*to_json(*good), ".sign.ca"), *good);
  EXPECT_FALSE(parse_record(text_of(".sign.ca", "", kHalf), ".sign.ca"));
  EXPECT_FALSE(parse_record(text_of(".sign.ca", kKind, ""), ".sign.ca"));
  EXPECT_FALSE(parse_record(text_of(".sign.ca", kKind, R"("type": "EC_P256", )"), ".sign.ca"));
  EXPECT_FALSE(parse_record(text_of("orders", kKind, kHalf), "orders"));
  EXPECT_FALSE(parse_record(text_of("orders", "", kHalf), "orders"));
  EXPECT_FALSE(parse_record(text_of("orders", R"(, "kind": "other")", ""), "orders"));
}

}  // namespace
}  // namespace keyfs
