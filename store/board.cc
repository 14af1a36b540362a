#include "store/board.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"
#include "base/text.h"

namespace keyfs {
namespace {

bool may_be_in_name(char c) {
  return is_alnum(c) || std::string_view("._:@+=,~-/").find(c) != std::string_view::npos;
}

Result<void> bad_name() {
  return fail(Code::kInvalid, "this is no name of a document on the board");
}

}  // namespace

Result<void> check_board_prefix(std::string_view prefix) {
  const size_t slash = prefix.find('/');
  if (slash == std::string_view::npos || prefix.size() > kMaxBoardNameBytes) return bad_name();
  if (!is_alnum(prefix.front())) return bad_name();
  if (slash + 1 < prefix.size() && !is_alnum(prefix[slash + 1])) return bad_name();
  if (!std::all_of(prefix.begin(), prefix.end(), may_be_in_name)) return bad_name();
  return {};
}

Result<void> check_board_name(std::string_view name) {
  if (auto ok = check_board_prefix(name); !ok) return ok;
  if (name.find('/') + 1 == name.size()) return bad_name();
  return {};
}

Result<void> check_board_document(std::string_view name, std::string_view text) {
  if (auto ok = check_board_name(name); !ok) return ok;
  if (text.size() > kMaxDocumentBytes) {
    return fail(Code::kInvalid,
                "the document " + std::string(name) + " has " + std::to_string(text.size()) +
                    " bytes, and the board takes at most " + std::to_string(kMaxDocumentBytes));
  }
  if (const auto json = parse_strict_json(text, kMaxDocumentBytes); !json) {
    return fail(Code::kInvalid, "the document " + std::string(name) + " " + json.error().message);
  }
  return {};
}

std::string end_of_board_prefix(std::string prefix) {
  if (!prefix.empty()) ++prefix.back();  // all that it may be is ASCII
  return prefix;
}

CheckItem board_is_off(std::string why, std::string remedy) {
  return {"board", true, "keys are served, and not rotated over several hosts: " + std::move(why),
          std::move(remedy), false};
}

Task<void> Board::watch(BoardListener&) { co_return; }

}  // namespace keyfs
