#include "server/http_client.h"

#include <fmt/core.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <limits>
#include <memory>

#include "io/tls/certificates.h"
#include "server/client_tls.h"

namespace conclave::server {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMaxAnswerBytes = 8 * 1024 * 1024;

http::request<http::string_body> make_request(const io::Address& server, const std::string& token,
                                              http::verb verb, std::string_view path,
                                              std::string_view body) {
  http::request<http::string_body> request(verb, boost::string_view(path.data(), path.size()), 11);
  request.set(http::field::host, server.to_string());
  request.set(http::field::connection, "close");
  if (!token.empty()) request.set(http::field::authorization, token);
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();
  return request;
}

// How long an exchange may take: each step of it, until the answer begins, and all together.
struct Patience {
  Duration each;
  Duration first = each;
  bool is_for_all = false;
};

// Steps that begin one after the other. What an operation that timed out refers to has to outlive
// this.
class Steps {
 public:
  explicit Steps(Patience patience)
      : patience_(patience),
        end_(patience.is_for_all ? Clock::now() + std::chrono::nanoseconds(patience.each.ns)
                                 : Clock::time_point::max()) {}

  asio::io_context& context() { return context_; }

  // `begin` gets the handler for its operation.
  template <class Begin>
  Result<void> step(Begin&& begin) {
    return step(patience_.each, begin);
  }
  // The one that waits for the answer to begin.
  template <class Begin>
  Result<void> first_of_answer(Begin&& begin) {
    return step(patience_.first, begin);
  }

 private:
  template <class Begin>
  Result<void> step(Duration patience, Begin& begin) {
    bool done = false;
    error_code error;
    begin([&](const error_code& failed, const auto&...) {
      error = failed;
      done = true;
    });
    context_.restart();
    context_.run_for(std::min<std::chrono::nanoseconds>(std::chrono::nanoseconds(patience.ns),
                                                        end_ - Clock::now()));
    if (!done) {
      return fail(
          ErrorCode::kIo,
          fmt::format("{} {} ms", patience_.is_for_all ? "no answer within" : "nothing came for",
                      patience.ms()));
    }
    if (error && error != http::error::need_buffer) return fail(ErrorCode::kIo, error.message());
    return {};
  }

  Patience patience_;
  Clock::time_point end_;
  asio::io_context context_;
};

// How one exchange goes, over a stream that is connected.
struct Exchange {
  http::request<http::string_body> request;
  const std::function<Result<void>(std::string_view)>& take;
  boost::beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  std::array<char, 64 * 1024> piece;

  template <class Stream>
  Result<HttpAnswer> run(Steps& steps, Stream& stream) {
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    TRY(steps.step([&](auto done) { http::async_write(stream, request, done); }));
    TRY(steps.first_of_answer(
        [&](auto done) { http::async_read_header(stream, buffer, parser, done); }));
    HttpAnswer answer{.status = parser.get().result_int(), .body = {}};
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      TRY(steps.step([&](auto done) { http::async_read_some(stream, buffer, parser, done); }));
      const std::string_view came(piece.data(), piece.size() - parser.get().body().size);
      if (answer.status == 200 && take) {
        TRY(take(came));
      } else if (answer.body.size() < kMaxAnswerBytes) {
        answer.body += came;
      } else {
        return fail(ErrorCode::kIo, "the answer is too large");
      }
    }
    return answer;
  }
};

// What an exchange needs that outlives the operations on it.
struct Connecting {
  tcp::resolver::results_type found;

  Result<void> run(Steps& steps, tcp::resolver& resolver, tcp::socket& socket,
                   const io::Address& server) {
    TRY(steps.step([&](auto done) {
      resolver.async_resolve(server.host, std::to_string(server.port),
                             [this, done](const error_code& failed, const auto& results) mutable {
                               found = results;
                               done(failed);
                             });
    }));
    return steps.step([&](auto done) { asio::async_connect(socket, found, done); });
  }
};

Result<void> secure(Steps& steps, ssl::stream<tcp::socket&>& stream, const std::string& host) {
  io::expect_host(*stream.native_handle(), host);
  const auto shaken =
      steps.step([&](auto done) { stream.async_handshake(ssl::stream_base::client, done); });
  if (shaken) return {};
  return fail(shaken.error().code,
              handshake_failure(shaken.error().message, *stream.native_handle()));
}

Result<HttpAnswer> run(const ClientTls& tls, const io::Address& server, Exchange& exchange,
                       Patience patience) {
  Connecting connecting;
  std::unique_ptr<ssl::context> context;
  if (server.tls) context = TRY(make_client_context(tls));
  Steps steps(patience);
  tcp::resolver resolver(steps.context());
  tcp::socket socket(steps.context());
  TRY(connecting.run(steps, resolver, socket, server));
  if (!server.tls) return exchange.run(steps, socket);
  ssl::stream<tcp::socket&> stream(socket, *context);
  TRY(secure(steps, stream, server.host));
  return exchange.run(steps, stream);
}

}  // namespace

Result<HttpAnswer> HttpClient::stream(
    const io::Address& server, std::string_view path, std::string_view body,
    Duration first_patience, Duration patience,
    const std::function<Result<void>(std::string_view)>& take) const {
  Exchange exchange{make_request(server, token_, http::verb::post, path, body), take, {}, {}, {}};
  return run(tls_, server, exchange, Patience{.each = patience, .first = first_patience});
}

Result<HttpAnswer> HttpClient::request(const io::Address& server, HttpMethod method,
                                       std::string_view path, std::string_view body,
                                       Duration limit) const {
  const auto verb = method == HttpMethod::kPost ? http::verb::post : http::verb::get;
  const std::function<Result<void>(std::string_view)> keep;
  Exchange exchange{make_request(server, token_, verb, path, body), keep, {}, {}, {}};
  return run(tls_, server, exchange, Patience{.each = limit, .first = limit, .is_for_all = true});
}

}  // namespace conclave::server
