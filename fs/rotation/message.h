// What is told of a run where people are: messages in the format of Slack's incoming webhooks, which
// Mattermost, Rocket.Chat and Discord (/slack) take as well.
//   https://docs.slack.dev/messaging/formatting-message-text
//
// A message holds no key and nothing that a hook has written. Names and reasons come from the board,
// which other hosts write: "&", "<" and ">" are escaped, so that nothing in them becomes a mention
// ("<!channel>") or a link, and control characters become "?".
//
// Thread-safety: plain functions. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "fs/rotation/report.h"

namespace keyfs {

// Characters (code points) of a text; what is longer is cut, never within a character or an escape.
inline constexpr size_t kMaxMessage = 3000;

// The text of the one message of a run that has ended: what failed, where and why; who was not heard
// from; what to do next.
std::string message_of_end(const RunReport& report);
// The text of a message that a run was taken over, the last of its takeovers.
std::string message_of_takeover(const RunReport& report);
// The text of a message that a run is being stopped: those under way are waited for, and then it ends.
std::string message_of_stop(const RunReport& report);

// {"text": TEXT}, cut at kMaxMessage. Bytes that are not UTF-8 become U+FFFD.
std::string webhook_body(std::string_view text);

// "&amp;", "&lt;", "&gt;".
std::string escaped_for_slack(std::string_view text);

}  // namespace keyfs
