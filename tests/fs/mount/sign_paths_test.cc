// Names below .keyfs/sign, their nodes, and rates.
#include "fs/mount/sign_paths.h"

#include <gtest/gtest.h>

#include "fs/mount/sign_nodes.h"
#include "fs/mount/sign_rates.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

std::optional<SignPlace> walk(std::initializer_list<std::string_view> names) {
  std::optional<SignPlace> place;
  for (const std::string_view name : names) {
    place = sign_place(place ? &*place : nullptr, name);
    if (!place) return std::nullopt;
  }
  return place;
}

TEST(SignPaths, a_name_says_which_key_algorithm_and_digest) {
  const std::string hex(64, 'A');
  const auto place = walk({"ca", "ECDSA_SHA_256", hex});
  ASSERT_TRUE(place);
  EXPECT_EQ(place->view, SignView::kSignature);
  EXPECT_EQ(place->id, "ca");
  EXPECT_EQ(place->digest, std::string(32, '\xaa'));
  EXPECT_EQ(place->pinned, "");
  const auto pinned = walk({"ca", "at", hex, "RSASSA_PSS_SHA_512", std::string(128, '0')});
  ASSERT_TRUE(pinned);
  EXPECT_EQ(pinned->pinned, std::string(64, 'a'));
  EXPECT_EQ(pinned->algorithm, SigningAlgorithm::kRsaPssSha512);
}

TEST(SignPaths, everything_else_means_nothing) {
  const std::string hex(64, 'a');
  for (const auto& names : std::initializer_list<std::initializer_list<std::string_view>>{
           {".ca"},
           {"ca", "pub"},
           {"ca", "ecdsa_sha_256"},
           {"ca", "at", "at"},
           {"ca", "at", hex, "pub.pem"},
           {"ca", "pub.pem", "x"},
           {"ca", "ECDSA_SHA_384", hex},
           {"ca", "ECDSA_SHA_256", "0x"},
           {"ca", "ECDSA_SHA_256", hex, hex}}) {
    EXPECT_FALSE(walk(names)) << *(names.end() - 1);
  }
}

TEST(SignNodes, an_id_is_never_used_again) {
  InodeTable ids{InodeIds{uint64_t{7} << InodeIds::kBits}};
  SignNodes nodes(ids);
  const auto first = nodes.look_up(nullptr, kSignNode, "ca", *walk({"ca"}), true);
  ASSERT_TRUE(first);
  EXPECT_EQ(nodes.look_up(nullptr, kSignNode, "ca", *walk({"ca"}), true), first);
  const uint64_t id = first->id;
  EXPECT_TRUE(nodes.forget(id, 1));
  EXPECT_EQ(nodes.find(id), first);
  EXPECT_TRUE(nodes.forget(id, 1));
  EXPECT_EQ(nodes.find(id), nullptr);
  EXPECT_FALSE(nodes.forget(id, 1));
  EXPECT_NE(nodes.look_up(nullptr, kSignNode, "ca", *walk({"ca"}), true)->id, id);
  EXPECT_EQ(ids.find(id), nullptr);
}

TEST(SignNodes, the_oldest_lone_name_leaves_unless_it_is_asked_for_again) {
  InodeTable ids{InodeIds{uint64_t{7} << InodeIds::kBits}};
  SignNodes nodes(ids);
  nodes.look_up(nullptr, kSignNode, "known", *walk({"known"}), false);
  for (const std::string name : {"a", "b"}) {
    nodes.look_up(nullptr, kSignNode, name, *walk({name}), true);
  }
  EXPECT_FALSE(nodes.take_oldest_lone(2));
  EXPECT_EQ(nodes.take_oldest_lone(1)->name, "a");
  EXPECT_EQ(nodes.leaving(), 1U);
  nodes.look_up(nullptr, kSignNode, "a", *walk({"a"}), true);
  EXPECT_EQ(nodes.leaving(), 0U);
  EXPECT_EQ(nodes.take_oldest_lone(1)->name, "b");
}

TEST(SignRates, each_user_has_a_rate_of_its_own_and_gets_it_back) {
  SignSection section;
  section.rate = SignRate{2, 1s};
  SignRates rates;
  TimePoint now{1h};
  EXPECT_TRUE(rates.admit(1, section, now));
  EXPECT_TRUE(rates.admit(1, section, now));
  EXPECT_FALSE(rates.admit(1, section, now));
  EXPECT_TRUE(rates.admit(2, section, now));
  EXPECT_TRUE(rates.admit(1, section, now + 500ms));
  EXPECT_FALSE(rates.admit(1, section, now + 500ms));
  const SignSection free{};
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(rates.admit(1, free, now));
}

}  // namespace
}  // namespace keyfs
