// Signing as files, on a real mount.
#include "fs/mount/sign_fixture.h"

#include <sys/sendfile.h>

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture
using enum SigningAlgorithm;
using enum SigningKeyType;

TEST_F(SignTest, opening_a_digest_gives_its_signature_and_a_line_in_the_audit) {
  const auto key = signing_->generate("ca", kEcP256);
  const std::string signature = contents(of_ca());
  EXPECT_TRUE(verifies(key, kEcdsaSha256, digest(1), signature));
  EXPECT_NE(contents(of_ca()), signature);  // each open makes its own
  const std::string lines = side_->audit_lines();
  EXPECT_EQ(lines_with("\"event\":\"sign\""), 2U);
  EXPECT_NE(lines.find("\"id\":\"ca\",\"fingerprint\":\"" + key->public_key->fingerprint() +
                       "\",\"pinned\":null,\"algorithm\":\"ECDSA_SHA_256\",\"digest\":\"" +
                       digest(1) + "\",\"uid\":0"),
            lines.npos)
      << lines;
  EXPECT_NE(lines.find("\"verdict\":\"allowed\",\"section\":\"[sign ca*]\""), lines.npos);
}

TEST_F(SignTest, the_public_files_are_those_of_the_key_and_have_their_size) {
  const auto key = signing_->generate("ca", kEcP384);
  const PublicKey& known = *key->public_key;
  EXPECT_EQ(contents(sign_path("ca/pub.pem")), known.pem());
  EXPECT_EQ(contents(sign_path("ca/pub.der")), known.der());
  EXPECT_EQ(contents(sign_path("ca/type")), "EC_P384\n");
  EXPECT_EQ(contents(sign_path("ca/fingerprint")), known.fingerprint() + "\n");
  EXPECT_EQ(contents(sign_path("ca/algorithms")), "ECDSA_SHA_384\n");
  EXPECT_EQ(size_of(sign_path("ca/pub.pem")), static_cast<int64_t>(known.pem().size()));
  const auto next = signing_->generate("ca", kEcP256);
  EXPECT_EQ(contents(sign_path("ca/type")), "EC_P256\n");
  EXPECT_EQ(size_of(sign_path("ca/pub.der")), static_cast<int64_t>(next->public_key->der().size()));
}

TEST_F(SignTest, looking_around_signs_nothing_and_asks_nobody) {
  signing_->generate("ca", kEcP256);
  signing_->generate("ca-pss", kRsa2048);
  const size_t before = signing_->all_calls();
  for (const char* command :
       {"find . -ls", "ls -laR .", "grep -r needle .", "tar -cf /dev/null .", "du -a ."}) {
    run("cd " + root_ + " && " + command);
    run("cd " + sign_path("") + " && " + command);
  }
  EXPECT_EQ(look(of_ca()), 0);
  EXPECT_EQ(::access(of_ca().c_str(), R_OK), 0);
  EXPECT_EQ(run("test -e " + of_ca() + " && stat " + of_ca() + " >/dev/null").status, 0);
  EXPECT_EQ(look(sign_path("ca-nothing/pub.pem")), 0);  // as with plain names, OPEN tells
  EXPECT_EQ(signing_->all_calls(), before);
  EXPECT_EQ(lines_with("\"event\":\"sign\""), 0U);
}

TEST_F(SignTest, directories_list_what_does_not_sign) {
  signing_->generate("ca", kEcP256);
  signing_->generate("ca-pss", kRsa2048);
  signing_->generate("other", kEcP256);
  EXPECT_TRUE(list(path(".keyfs")).contains("sign"));
  EXPECT_EQ(list(sign_path("")), (std::set<std::string>{"ca", "ca-pss"}));
  EXPECT_EQ(list(sign_path("ca")),
            (std::set<std::string>{"pub.pem", "pub.der", "type", "fingerprint", "algorithms",
                                   "ECDSA_SHA_256", "at"}));
  EXPECT_TRUE(list(sign_path("ca-pss")).contains("RSASSA_PSS_SHA_256"));
  EXPECT_FALSE(list(sign_path("ca-pss")).contains("RSASSA_PSS_SHA_512"));  // not permitted
  EXPECT_EQ(list(sign_path("ca/at")), std::set<std::string>{});
  contents(of_ca());
  EXPECT_EQ(list(sign_path("ca/ECDSA_SHA_256")), std::set<std::string>{});
  EXPECT_EQ(run(as_user(1002, "ls " + sign_path(""))).output, "ca\n");
  EXPECT_EQ(run(as_user(1005, "ls " + sign_path(""))).output, "");
}

TEST_F(SignTest, only_who_may_use_signs_and_who_may_see_reads_public_files) {
  signing_->generate("ca", kEcP256);
  const std::string pem = sign_path("ca/pub.pem");
  EXPECT_EQ(run(as_user(1001, "cat " + of_ca() + " >/dev/null")).status, 0);
  EXPECT_EQ(run(as_user(1001, "cat " + pem + " >/dev/null")).status, 0);
  EXPECT_NE(run(as_user(1002, "cat " + of_ca() + " >/dev/null")).status, 0);
  EXPECT_EQ(run(as_user(1002, "cat " + pem + " >/dev/null")).status, 0);
  EXPECT_NE(run(as_user(1003, "cat " + of_ca() + " >/dev/null")).status, 0);  // a data key's
  EXPECT_NE(run(as_user(1003, "cat " + pem + " >/dev/null")).status, 0);
  EXPECT_NE(run(as_user(1002, "test -r " + of_ca())).status, 0);
  EXPECT_EQ(signing_->calls("sign"), 1U + 1U);  // and its self-test
  EXPECT_EQ(lines_with("\"verdict\":\"denied\""), 2U);
  EXPECT_EQ(lines_with("\"errno\":\"EACCES\""), 2U);
  EXPECT_EQ(open_error(path("ca")), EACCES);  // a right to sign is none to a data key
}

TEST_F(SignTest, names_that_mean_nothing_are_not_there) {
  signing_->generate("ca", kEcP256);
  EXPECT_EQ(look(sign_path("hidden")), ENOENT);
  EXPECT_EQ(look(sign_path("ca/ECDSA_SHA_512")), ENOENT);
  EXPECT_EQ(look(sign_path("ca/ECDSA_SHA_384")), ENOENT);  // of another type
  EXPECT_EQ(look(sign_path("ca/ECDSA_SHA_256/" + digest(1, 48))), ENOENT);
  EXPECT_EQ(look(sign_path("ca/ECDSA_SHA_256/" + std::string(64, 'g'))), ENOENT);
  EXPECT_EQ(look(sign_path("ca/at/abc")), ENOENT);
  EXPECT_EQ(open_error(sign_path("ca-none/ECDSA_SHA_256/" + digest(1))), ENOENT);
  EXPECT_EQ(open_error(sign_path("ca-none/pub.pem")), ENOENT);
  EXPECT_EQ(open_error(of_ca(), O_WRONLY), EROFS);
  EXPECT_EQ(::rename(of_ca(1).c_str(), of_ca(2).c_str()) == 0 ? 0 : errno, EROFS);
  EXPECT_EQ(signing_->calls("sign"), 1U);  // the self-test
}

TEST_F(SignTest, an_algorithm_that_the_section_does_not_permit_is_denied) {
  const auto key = signing_->generate("ca-pss", kRsa2048);
  EXPECT_EQ(open_error(sign_path("ca-pss/RSASSA_PKCS1_V1_5_SHA_256/" + digest(1))), EACCES);
  EXPECT_EQ(open_error(sign_path("ca-pss/RSASSA_PSS_SHA_512/" + digest(1, 64))), EACCES);
  const std::string signature = contents(sign_path("ca-pss/RSASSA_PSS_SHA_256/" + digest(1)));
  EXPECT_TRUE(verifies(key, kRsaPssSha256, digest(1), signature));
}

TEST_F(SignTest, a_user_over_the_rate_is_told_to_come_again) {
  signing_->generate("ca-slow", kEcP256);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(open_error(sign_path("ca-slow/ECDSA_SHA_256/" + digest(i))), i < 3 ? 0 : EAGAIN);
  }
  EXPECT_EQ(signing_->calls("sign"), 3U + 1U);
  EXPECT_EQ(lines_with("\"errno\":\"EAGAIN\""), 2U);
}

TEST_F(SignTest, a_pinned_key_signs_while_it_is_current_and_is_stale_afterwards) {
  const auto first = signing_->generate("ca", kEcP256);
  const auto pinned = [&](const SigningKeyPtr& key) {
    return sign_path("ca/at/" + key->public_key->fingerprint() + "/ECDSA_SHA_256/" + digest(1));
  };
  EXPECT_TRUE(verifies(first, kEcdsaSha256, digest(1), contents(pinned(first))));
  const auto second = signing_->generate("ca", kEcP256);
  EXPECT_EQ(open_error(pinned(first)), ESTALE);
  EXPECT_EQ(lines_with("\"errno\":\"ESTALE\""), 1U);  // though the kernel has asked twice
  EXPECT_TRUE(verifies(second, kEcdsaSha256, digest(1), contents(pinned(second))));
  EXPECT_TRUE(verifies(second, kEcdsaSha256, digest(1), contents(of_ca())));
}

TEST_F(SignTest, a_signature_that_was_handed_out_stays_and_a_disabled_key_makes_no_other) {
  const auto key = signing_->generate("ca", kEcP256);
  const int file = ::open(of_ca().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  const std::string signature = contents(file);
  signing_->set_enabled("ca", false);
  EXPECT_EQ(contents(file), signature);
  EXPECT_TRUE(verifies(key, kEcdsaSha256, digest(1), signature));
  EXPECT_EQ(open_error(of_ca()), EKEYREVOKED);
  ::close(file);
}

TEST_F(SignTest, sizes_are_never_too_small_and_exact_once_open) {
  signing_->generate("ca", kEcP256);
  signing_->generate("ca-pss", kRsa2048);
  EXPECT_EQ(size_of(of_ca()), 72);
  EXPECT_EQ(size_of(sign_path("ca-pss/RSASSA_PSS_SHA_256/" + digest(1))), 256);
  for (int i = 0; i < 40; ++i) {  // of 70 to 72 bytes
    const int file = ::open(of_ca(i).c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    const std::string signature = contents(file);
    struct stat attributes {};
    EXPECT_EQ(::fstat(file, &attributes), 0);
    EXPECT_EQ(attributes.st_size, static_cast<off_t>(signature.size()));
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    EXPECT_EQ(::sendfile(pipe[1], file, nullptr, 4096), static_cast<ssize_t>(signature.size()));
    ::close(pipe[0]);
    ::close(pipe[1]);
    ::close(file);
  }
}

TEST_F(SignTest, who_waits_for_a_signature_can_be_killed) {
  signing_->generate("ca", kEcP256);
  signing_->hang = true;
  for (const int signal : {SIGKILL, SIGTERM}) {
    const pid_t child = start([this] { return open_error(of_ca()); });
    while (signing_->hanging != 1) ::usleep(1'000);
    const auto begin = std::chrono::steady_clock::now();
    ::kill(child, signal);
    EXPECT_EQ(wait_for(child), 128 + signal);
    EXPECT_LT(since(begin), std::chrono::seconds(2));
    while (signing_->hanging != 0) ::usleep(1'000);
  }
  signing_->hang = false;
  EXPECT_EQ(open_error(of_ca()), 0);
}

TEST_F(SignTest, without_signing_keys_there_is_no_such_directory) {
  side_.reset();
  mount(std::make_unique<FuseSide>());
  EXPECT_EQ(look(sign_path("")), ENOENT);
  EXPECT_FALSE(list(path(".keyfs")).contains("sign"));
}

class SignRequiredAuditTest : public SignTest {
 protected:
  Audit::Options audit_options() const override {
    Audit::Options options;
    options.required = true;
    return options;
  }
};

TEST_F(SignRequiredAuditTest, no_signature_is_handed_out_whose_line_cannot_be_kept) {
  const auto key = signing_->generate("ca", kEcP256);
  EXPECT_TRUE(verifies(key, kEcdsaSha256, digest(1), contents(of_ca())));
  EXPECT_EQ(lines_with("\"verdict\":\"allowed\""), 1U);
  {
    std::lock_guard lock(side_->audited->mutex);
    side_->audited->broken = true;
  }
  EXPECT_EQ(open_error(of_ca()), EIO);
  std::lock_guard lock(side_->audited->mutex);
  side_->audited->broken = false;
}

class SignNamesTest : public SignTest {
 protected:
  FuseOptions options() const override {
    FuseOptions few;
    few.lone_names = 100;
    return few;
  }
};

TEST_F(SignNamesTest, digests_that_were_looked_up_are_forgotten_but_for_the_newest) {
  signing_->generate("ca", kEcP256);
  for (int i = 0; i < 3'000; ++i) {
    const int error = look(i % 2 == 0 ? of_ca(i) : sign_path("ca-" + std::to_string(i)));
    ASSERT_TRUE(error == 0 || error == EAGAIN) << error;
  }
  const auto names = [this] { return side_->ops.status().signing_names; };
  for (int i = 0; i < 1'000 && names() > 110; ++i) ::usleep(10'000);
  EXPECT_LE(names(), 110U);
  EXPECT_EQ(open_error(of_ca(0)), 0);
}

}  // namespace
}  // namespace keyfs
