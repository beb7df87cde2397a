#pragma once
// Small parsers that the command line, the configuration file and URLs share.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/text.h"
#include "base/time.h"

namespace conclave::server {

// The pieces between separators, each trimmed; none for an empty text.
std::vector<std::string_view> split(std::string_view text, char separator);

// Two digits for each byte, "0a".
std::string in_hex(BytesView bytes);

// Decimal digits only.
Result<std::uint64_t> parse_number(std::string_view text);

// As Go writes durations: "90s", "1h30m", "1.5h", "100ms"; "0" needs no unit.
Result<Duration> parse_duration(std::string_view text);

// Go's spellings: 1, t, true, 0, f, false, in any case.
Result<bool> parse_bool(std::string_view text);

}  // namespace conclave::server
