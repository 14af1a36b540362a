#include "kms/kms_arn.h"

#include <array>

namespace keyfs {
namespace {

// The six parts of a KMS ARN.
std::optional<std::array<std::string_view, 6>> split(std::string_view text) {
  std::array<std::string_view, 6> parts;
  for (size_t i = 0; i < 5; ++i) {
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    parts[i] = text.substr(0, colon);
    text.remove_prefix(colon + 1);
  }
  parts[5] = text;
  for (const auto part : parts) {
    if (part.empty()) return std::nullopt;
  }
  if (parts[0] != "arn" || parts[2] != "kms") return std::nullopt;
  return parts;
}

}  // namespace

std::optional<KmsKeyArn> KmsKeyArn::parse(std::string_view text) {
  const auto parts = split(text);
  if (!parts || !(*parts)[5].starts_with("key/") || (*parts)[5].size() == 4) return std::nullopt;
  return KmsKeyArn{std::string((*parts)[1]), std::string((*parts)[3]), std::string((*parts)[4]),
                   std::string((*parts)[5].substr(4))};
}

std::string kms_arn_region(std::string_view text) {
  const auto parts = split(text);
  return parts ? std::string((*parts)[3]) : "";
}

}  // namespace keyfs
