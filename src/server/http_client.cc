#include "server/http_client.h"

#include <fmt/core.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <limits>
#include <vector>

namespace conclave::server {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::uint64_t kMaxAnswerBytes = 8 * 1024 * 1024;

// One exchange: resolve, connect, write, read; each step starts the next.
class Exchange {
 public:
  Exchange(asio::io_context& context, io::Address server, http::request<http::string_body> request)
      : server_(std::move(server)),
        request_(std::move(request)),
        resolver_(context),
        socket_(context) {
    parser_.body_limit(kMaxAnswerBytes);
  }

  void begin() {
    error_code error;
    const auto literal = asio::ip::make_address(server_.host, error);
    if (!error) return connect({tcp::endpoint(literal, server_.port)});
    resolver_.async_resolve(
        server_.host, std::to_string(server_.port),
        [this](const error_code& failed, const tcp::resolver::results_type& found) {
          if (failed) return finish(failed);
          std::vector<tcp::endpoint> endpoints;
          for (const auto& each : found) endpoints.push_back(each.endpoint());
          connect(std::move(endpoints));
        });
  }

  bool finished() const { return finished_; }
  const error_code& error() const { return error_; }
  HttpAnswer answer() { return {parser_.get().result_int(), std::move(parser_.get().body())}; }

 private:
  void connect(std::vector<tcp::endpoint> endpoints) {
    endpoints_ = std::move(endpoints);
    asio::async_connect(socket_, endpoints_, [this](const error_code& failed, const auto&) {
      if (failed) return finish(failed);
      write();
    });
  }

  void write() {
    http::async_write(socket_, request_, [this](const error_code& failed, std::size_t) {
      if (failed) return finish(failed);
      http::async_read(socket_, buffer_, parser_,
                       [this](const error_code& error, std::size_t) { finish(error); });
    });
  }

  void finish(const error_code& error) {
    error_ = error;
    finished_ = true;
  }

  io::Address server_;
  http::request<http::string_body> request_;
  tcp::resolver resolver_;
  tcp::socket socket_;
  std::vector<tcp::endpoint> endpoints_;
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  error_code error_;
  bool finished_ = false;
};

http::request<http::string_body> make_request(const io::Address& server, http::verb verb,
                                              std::string_view path, std::string_view body) {
  http::request<http::string_body> request(verb, boost::string_view(path.data(), path.size()), 11);
  request.set(http::field::host, server.to_string());
  request.set(http::field::connection, "close");
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();
  return request;
}

// Steps that begin one after the other, each with so much time.
class Steps {
 public:
  Steps(asio::io_context& context, Duration patience) : context_(context), patience_(patience) {}

  // `begin` gets the handler for its operation.
  template <class Begin>
  Result<void> step(Begin&& begin) {
    bool done = false;
    error_code error;
    begin([&](const error_code& failed, const auto&...) {
      error = failed;
      done = true;
    });
    context_.restart();
    context_.run_for(std::chrono::nanoseconds(patience_.ns));
    if (!done) {
      return fail(ErrorCode::kIo, fmt::format("nothing came for {} ms", patience_.ms()));
    }
    if (error && error != http::error::need_buffer) return fail(ErrorCode::kIo, error.message());
    return {};
  }

 private:
  asio::io_context& context_;
  Duration patience_;
};

}  // namespace

Result<HttpAnswer> http_stream(const io::Address& server, std::string_view path,
                               std::string_view body, Duration patience,
                               const std::function<Result<void>(std::string_view)>& take) {
  // What an operation that timed out still refers to goes after the context.
  const auto request = make_request(server, http::verb::post, path, body);
  tcp::resolver::results_type found;
  boost::beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  std::array<char, 64 * 1024> piece{};
  asio::io_context context;
  tcp::resolver resolver(context);
  tcp::socket socket(context);
  Steps steps(context, patience);

  TRY(steps.step([&](auto done) {
    resolver.async_resolve(server.host, std::to_string(server.port),
                           [&found, done](const error_code& failed, const auto& results) mutable {
                             found = results;
                             done(failed);
                           });
  }));
  TRY(steps.step([&](auto done) { asio::async_connect(socket, found, done); }));
  TRY(steps.step([&](auto done) { http::async_write(socket, request, done); }));
  TRY(steps.step([&](auto done) { http::async_read_header(socket, buffer, parser, done); }));
  HttpAnswer answer{.status = parser.get().result_int(), .body = {}};
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    TRY(steps.step([&](auto done) { http::async_read_some(socket, buffer, parser, done); }));
    const std::string_view came(piece.data(), piece.size() - parser.get().body().size);
    if (answer.status == 200) {
      TRY(take(came));
    } else if (answer.body.size() < kMaxAnswerBytes) {
      answer.body += came;
    }
  }
  return answer;
}

Result<HttpAnswer> http_request(const io::Address& server, HttpMethod method, std::string_view path,
                                std::string_view body, Duration limit) {
  const auto verb = method == HttpMethod::kPost ? http::verb::post : http::verb::get;
  auto request = make_request(server, verb, path, body);

  asio::io_context context;
  Exchange exchange(context, server, std::move(request));
  exchange.begin();
  context.run_for(std::chrono::nanoseconds(limit.ns));
  if (!exchange.finished()) {
    return fail(ErrorCode::kIo, fmt::format("no answer within {} ms", limit.ms()));
  }
  if (exchange.error()) return fail(ErrorCode::kIo, exchange.error().message());
  return exchange.answer();
}

}  // namespace conclave::server
