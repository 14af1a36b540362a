// .keyfs/hex and .keyfs/base64: the current version as text.
#include <sys/sendfile.h>

#include "base/encoding.h"
#include "fs/mount/versions_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

class ViewsTest : public VersionsTest {
 protected:
  std::string hex(const std::string& id) const { return path(".keyfs/hex/" + id); }
  std::string base64(const std::string& id) const { return path(".keyfs/base64/" + id); }
};

std::string every_byte() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  return bytes;
}

TEST(TextViews, the_hex_of_a_secret_is_that_of_anything) {
  SecretArena arena;
  const std::string bytes = every_byte();
  const std::span<const uint8_t> all(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  EXPECT_EQ(hex_encode_secret(arena, all)->reveal_text(), hex_encode(all));
}

TEST_F(ViewsTest, they_are_the_text_of_the_key_without_a_newline) {
  for (size_t size = 16; size <= 48; ++size) {
    const std::string id = "root-" + std::to_string(size);
    const std::string key = every_byte().substr(230, 26) + std::string(size - 16, '\n');
    const std::string bytes = key.substr(0, size);
    backend().add(id, bytes);
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    EXPECT_EQ(contents(hex(id)), hex_encode({data, size}));
    EXPECT_EQ(contents(base64(id)), base64_encode(bytes));
    EXPECT_EQ(size_of(hex(id)), static_cast<int64_t>(2 * size));
    EXPECT_EQ(size_of(base64(id)), static_cast<int64_t>(4 * ((size + 2) / 3)));
  }
}

TEST_F(ViewsTest, the_largest_key_is_whole_in_every_way_of_reading) {
  const std::string key(4096, 'k');
  backend().add("root-large", key);
  const std::string text = run("cat " + hex("root-large")).output;
  EXPECT_EQ(text.size(), 8192U);
  for (const std::string command :
       {"cp %s /dev/stdout", "dd if=%s bs=7 status=none", "tar -C / -cf - .%s | tar -xOf -",
        "head -c 99999 %s", "tail -c +1 %s"}) {
    std::string full = command;
    full.replace(full.find("%s"), 2, hex("root-large"));
    EXPECT_EQ(run(full).output, text) << command;
  }
  EXPECT_EQ(run("dd if=" + hex("root-large") + " bs=1 skip=8000 count=10 status=none").output,
            text.substr(8000, 10));
}

TEST_F(ViewsTest, a_size_that_is_not_known_is_told_too_large_and_never_too_small) {
  backend().add("root-a", std::string(33, 'k'));
  backend().hang(true);
  EXPECT_EQ(size_of(hex("root-a")), 8192);
  EXPECT_EQ(size_of(base64("root-a")), 5464);
  backend().hang(false);
  EXPECT_EQ(run("cp " + hex("root-a") + " /dev/stdout").output.size(), 66U);
  EXPECT_EQ(size_of(hex("root-a")), 66);
  EXPECT_EQ(size_of(base64("root-a")), 44);
  EXPECT_EQ(size_of(path("root-a")), 33);
  // A name without a key has the size that it would be created with.
  // Nobody is asked for a while after that silence.
  for (int i = 0; i < 500 && size_of(hex("root-new")) == 8192; ++i) ::usleep(10'000);
  EXPECT_EQ(size_of(hex("root-new")), 64);
}

TEST_F(ViewsTest, opening_one_creates_the_key_for_who_may) {
  EXPECT_EQ(contents(hex("root-new")), "637265617465642d726f6f742d6e6577");
  EXPECT_EQ(contents(path("root-new")), "created-root-new");
  EXPECT_EQ(open_error(hex("app-new")), EACCES);
  EXPECT_EQ(run(as_user(1002, "cat " + hex("shared-new"))).status, 1);
  EXPECT_FALSE(backend().exists("app-new"));
  EXPECT_FALSE(backend().exists("shared-new"));
  EXPECT_EQ(open_error(base64("HEAD")), ENOENT);  // never created by opening
  const std::string lines = side_->audit_lines();
  EXPECT_NE(lines.find(R"("asked":null,"view":"hex")"), std::string::npos);
  EXPECT_NE(lines.find(R"("created":true)"), std::string::npos);
}

TEST_F(ViewsTest, an_open_view_stays_with_its_version) {
  backend().add("root-a", "first-key");
  const int file = ::open(hex("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  rotate("root-a", "second");
  EXPECT_EQ(contents(file), "66697273742d6b6579");
  EXPECT_EQ(contents(hex("root-a")), "7365636f6e64");
  EXPECT_EQ(size_of(hex("root-a")), 12);
  EXPECT_EQ(contents(base64("root-a")), "c2Vjb25k");
  ::close(file);
}

TEST_F(ViewsTest, a_revoked_key_ends_for_open_views) {
  backend().add("root-a", "0123");
  const int file = ::open(base64("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(contents(file), "MDEyMw==");
  const KeyRef entry = side_->cache.find("root-a");
  side_->cache.revoke(*entry, side_->loop.now() + std::chrono::hours(1), 0);
  backend().fail_with(Error(Code::kRevoked, "disabled"));
  EXPECT_EQ(contents(file), "errno " + std::to_string(EKEYREVOKED));
  EXPECT_EQ(open_error(hex("root-a")), EKEYREVOKED);
  ::close(file);
}

TEST_F(ViewsTest, sendfile_gives_the_text_and_leaves_no_secret_in_use) {
  backend().add("root-a", "0123456789");
  const size_t secrets = [&] {
    contents(path("root-a"));
    return side_->arena.usage().secrets;
  }();
  const int file = ::open(hex("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  const int copy = ::open((dir_.path() + "/copy").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_EQ(::sendfile(copy, file, nullptr, 4096), 20);
  EXPECT_EQ(contents(copy), "30313233343536373839");
  ::close(copy);
  ::close(file);
  // What was made for a reply is wiped and free once it is out.
  for (int i = 0; i < 500 && side_->arena.usage().secrets != secrets; ++i) ::usleep(10'000);
  EXPECT_EQ(side_->arena.usage().secrets, secrets);
}

}  // namespace
}  // namespace keyfs
