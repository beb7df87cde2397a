#pragma once
// Owned and borrowed byte strings. They are std::string and std::string_view so that protobuf,
// nghttp2 and the standard library take them without a copy; the names say that the content is
// bytes and not text.

#include <string>
#include <string_view>

namespace conclave {

using Bytes = std::string;
using BytesView = std::string_view;

}  // namespace conclave
