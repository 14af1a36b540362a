#include "kms/factory.h"

#include <gmock/gmock.h>

#include "kms/local_fixture.h"
#include "support/memory_region.h"

namespace keyfs::testing {
namespace {

struct FactoryTest : ::testing::Test {
  Result<std::vector<std::unique_ptr<Region>>> make(const std::string& text) {
    auto config = ConfigFile::parse(text, "keyfs.ini");
    EXPECT_TRUE(config) << config.error().message;
    const RegionParts parts{at.loop(), at.arena(), at.random, aws};
    return make_regions(*config, parts);
  }
  void expect_mistake(const std::string& text, const std::string& message) {
    const auto made = make(text);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kInvalid);
    EXPECT_EQ(made.error().message, message);
  }

  LocalFixture at;
  MakeRegion aws;
};

TEST_F(FactoryTest, builds_the_regions_in_the_order_of_the_file) {
  const auto made = make("[region b]\ntype = local\nkey_file = " + at.file +
                         "\n[region a]\ntype = local\nkey_file = /no/such/file\n");
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_EQ(made->size(), 2u);
  EXPECT_EQ((*made)[0]->name(), "b");
  EXPECT_EQ((*made)[1]->name(), "a") << "its file may come later";
  auto generated =
      at.loop().run_task((*made)[0]->generate(32, {}, at.loop().now() + std::chrono::seconds(30)));
  EXPECT_TRUE(generated);
}

TEST_F(FactoryTest, aws_regions_come_from_the_one_who_can_make_them) {
  aws = [&](const ConfigSection& section) -> Result<std::unique_ptr<Region>> {
    return memory_region(at.loop(), at.arena(), at.random, section.argument());
  };
  const auto made = make("[region us-east-1]\ntype = aws\nkey = alias/keyfs\n");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ((*made)[0]->name(), "us-east-1");
}

TEST_F(FactoryTest, every_mistake_has_its_line) {
  expect_mistake("[keyfs]\nkey_bytes = 32\n",
                 "keyfs.ini: no [region NAME] section; at least one is needed");
  expect_mistake("[region a]\nkey_file = /k\n",
                 "keyfs.ini:1: [region a] type: is missing: aws or local");
  expect_mistake("[region a]\nkey_file = /k\ntype = vault\n",
                 "keyfs.ini:3: [region a] type: unknown type vault: aws or local");
  expect_mistake("[region a]\n\ntype = local\nkey_file = master.key\n",
                 "keyfs.ini:4: [region a] key_file: must be an absolute path");
  expect_mistake("[region a]\ntype = local\nkey_file = /k\nendpoint = http://x\n",
                 "keyfs.ini:4: [region a] endpoint: unknown key");
  expect_mistake("[region a]\ntype = aws\n",
                 "keyfs.ini:2: [region a] type: aws regions cannot be used here");
}

TEST_F(FactoryTest, two_regions_of_one_master_are_a_mistake) {
  expect_mistake(
      "[region a]\ntype = local\nkey_file = /k\n[region b]\ntype = local\nkey_file = /k\n",
      "keyfs.ini:6: [region b] key_file: is the master key of [region a] as well: each "
      "region needs one of its own");
}

TEST_F(FactoryTest, previous_masters_are_other_files_with_absolute_paths) {
  EXPECT_TRUE(make("[region a]\ntype = local\nkey_file = /k\nprevious_key_files = /old, /older\n"));
  expect_mistake("[region a]\ntype = local\nkey_file = /k\nprevious_key_files = /old, k\n",
                 "keyfs.ini:4: [region a] previous_key_files: k must be an absolute path");
  expect_mistake("[region a]\ntype = local\nkey_file = /k\nprevious_key_files = /k\n",
                 "keyfs.ini:4: [region a] previous_key_files: names key_file itself, which holds "
                 "the present master");
}

TEST_F(FactoryTest, a_local_region_without_key_file_is_a_mistake) {
  const auto made = make("[region a]\ntype = local\n");
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, ::testing::StartsWith("keyfs.ini:1: [region a] key_file: "));
}

}  // namespace
}  // namespace keyfs::testing
