// Any bytes from STS, a container, an instance or a credential_process are credentials fit for a
// header, or an error that quotes nothing. Any command is words or an error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/aws/credentials_sources.h"
#include "base/aws/shell_words.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

bool fits_a_header(std::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f) return false;
  }
  return true;
}

void check(const keyfs::Result<keyfs::AwsCredentialsPtr>& credentials) {
  if (!credentials) {
    require(credentials.error().code == keyfs::Code::kUnauthenticated);
    require(credentials.error().message.starts_with("who: "));
    require(credentials.error().message.size() < 120);
    return;
  }
  const keyfs::AwsCredentials& found = **credentials;
  require(!found.access_key_id.empty() && fits_a_header(found.access_key_id));
  require(!found.secret_access_key.empty());
  require(fits_a_header(found.session_token.reveal_text()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static keyfs::SecretArena arena;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(keyfs::parse_credentials_json(arena, "who", text, "Token"));
  check(keyfs::parse_sts_credentials(arena, "who", text));
  const auto words = keyfs::shell_words(text);
  size_t letters = 0;
  if (words) {
    for (const auto& word : *words) letters += word.size();
  }
  require(letters <= size);
  return 0;
}
