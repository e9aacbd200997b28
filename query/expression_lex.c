/* expression_lex.c - the text of a filter as tokens. */
#include <stdio.h>

#include "query/expression_internal.h"

static const struct {
  const char *text;
  Token token;
} words[] = {
  { "and", TOKEN_AND },   { "or", TOKEN_OR },       { "not", TOKEN_NOT }, { "between", TOKEN_BETWEEN },
  { "in", TOKEN_IN },     { "like", TOKEN_LIKE },   { "is", TOKEN_IS },   { "null", TOKEN_NULL },
  { "true", TOKEN_TRUE }, { "false", TOKEN_FALSE }, { "nan", TOKEN_NAN }, { "infinity", TOKEN_INFINITY },
};

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (uint8_t)c >= 128;
}
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* The character `ahead` of the cursor, NUL behind the end. */
static char peek(const Lexer *l, size_t ahead) { return l->length - l->at > ahead ? l->text[l->at + ahead] : '\0'; }

static bool same_word(const char *text, size_t length, const char *word) {
  size_t i = 0;
  for (; i < length && word[i]; i++) {
    if (lower(text[i]) != word[i]) return false;
  }
  return i == length && !word[i];
}

static Token word_token(const char *text, size_t length) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (same_word(text, length, words[i].text)) return words[i].token;
  }
  return TOKEN_NAME;
}

bool lexer_name_needs_quotes(const uint8_t *name, size_t length) {
  const char *text = (const char *)name;
  if (length == 0 || !is_letter(text[0])) return true;
  for (size_t i = 1; i < length; i++) {
    if (!is_letter(text[i]) && !is_digit(text[i])) return true;
  }
  return word_token(text, length) != TOKEN_NAME || same_word(text, length, "case") ||
         same_word(text, length, "distinct");
}

static const char *token_noun(Token token) {
  switch (token) {
  case TOKEN_END: return "the end of the text";
  case TOKEN_NUMBER: return "the number ";
  case TOKEN_NAME: return "the name ";
  default: return "";
  }
}

enum { FOUND_SHOWN = 40 }; /* bytes */

Status lexer_fail(const Lexer *l, const char *expected) {
  size_t length = l->token == TOKEN_END ? 0 : l->at - l->start;
  const char *cut = length > FOUND_SHOWN ? "..." : "";
  length = bytes_beginning(l->text + l->start, length, FOUND_SHOWN);
  return status_fail(KVSTORE_ERROR, "%s position %zu: expected %s, found %s%.*s%s", l->where, l->start + 1, expected,
                     token_noun(l->token), (int)length, l->text + l->start, cut);
}

static Status take(Lexer *l, Token token, size_t length) {
  l->token = token;
  l->at += length;
  return KVSTORE_OK;
}

static Status take_comparison(Lexer *l, ExpressionTest test, size_t length) {
  l->comparison = test;
  return take(l, TOKEN_COMPARISON, length);
}

/* `prefix` characters and a quote have been seen; the body ends at a quote that is not doubled. */
static Status take_quoted(Lexer *l, Token token, size_t prefix) {
  char quote = l->text[l->at + prefix];
  size_t from = l->at + prefix + 1, at = from;
  for (; at < l->length; at++) {
    if (l->text[at] != quote) continue;
    if (at + 1 == l->length || l->text[at + 1] != quote) break;
    at++;
  }
  if (at >= l->length) {
    return status_fail(KVSTORE_ERROR, "%s position %zu: the quote %c has no end", l->where, l->start + 1, quote);
  }
  l->body = l->text + from;
  l->body_length = at - from;
  l->is_quoted = true;
  return take(l, token, at + 1 - l->at);
}

size_t lexer_unquote(const Lexer *l, char quote, uint8_t *out) {
  size_t written = 0;
  for (size_t i = 0; i < l->body_length; i++) {
    out[written++] = (uint8_t)l->body[i];
    if (l->is_quoted && l->body[i] == quote) i++;
  }
  return written;
}

static void skip_digits(const Lexer *l, size_t *at) {
  while (*at < l->length && is_digit(l->text[*at])) ++*at;
}

static Status take_number(Lexer *l) {
  size_t at = l->at + (peek(l, 0) == '-' || peek(l, 0) == '+');
  skip_digits(l, &at);
  if (at < l->length && l->text[at] == '.') {
    at++;
    skip_digits(l, &at);
  }
  if (at < l->length && lower(l->text[at]) == 'e') {
    size_t exponent = at + 1;
    if (exponent < l->length && (l->text[exponent] == '-' || l->text[exponent] == '+')) exponent++;
    if (exponent < l->length && is_digit(l->text[exponent])) {
      at = exponent;
      skip_digits(l, &at);
    }
  }
  if (at < l->length && (is_letter(l->text[at]) || l->text[at] == '.')) {
    return status_fail(KVSTORE_ERROR, "%s position %zu: a number runs into other characters", l->where, l->start + 1);
  }
  l->body = l->text + l->at;
  l->body_length = at - l->at;
  return take(l, TOKEN_NUMBER, at - l->at);
}

static Status take_word(Lexer *l) {
  size_t length = 1;
  while (is_letter(peek(l, length)) || is_digit(peek(l, length))) length++;
  l->body = l->text + l->at;
  l->body_length = length;
  l->is_quoted = false;
  return take(l, word_token(l->body, length), length);
}

static Status take_symbol(Lexer *l) {
  char c = peek(l, 0), next = peek(l, 1);
  switch (c) {
  case '(': return take(l, TOKEN_OPEN, 1);
  case ')': return take(l, TOKEN_CLOSE, 1);
  case ',': return take(l, TOKEN_COMMA, 1);
  case '*': return take(l, TOKEN_STAR, 1);
  case '&': return take(l, TOKEN_BIT_AND, 1);
  case '+': return take(l, TOKEN_PLUS, 1);
  case '-': return take(l, TOKEN_MINUS, 1);
  case '/': return take(l, TOKEN_SLASH, 1);
  case '%': return take(l, TOKEN_PERCENT, 1);
  case '?': return take(l, TOKEN_PARAMETER, 1);
  case '=': return take_comparison(l, TEST_EQUAL, next == '=' ? 2 : 1);
  case '<':
    if (next == '>') return take_comparison(l, TEST_NOT_EQUAL, 2);
    return next == '=' ? take_comparison(l, TEST_LESS_EQUAL, 2) : take_comparison(l, TEST_LESS, 1);
  case '>': return next == '=' ? take_comparison(l, TEST_GREATER_EQUAL, 2) : take_comparison(l, TEST_GREATER, 1);
  case '!':
    if (next == '=') return take_comparison(l, TEST_NOT_EQUAL, 2);
    break;
  default: break;
  }
  if (c > ' ' && c < 127) {
    return status_fail(KVSTORE_ERROR, "%s position %zu: %c means nothing here", l->where, l->start + 1, c);
  }
  return status_fail(KVSTORE_ERROR, "%s position %zu: a control character", l->where, l->start + 1);
}

/* Behind a value a sign is an operator, elsewhere it may begin a number. */
static bool ends_value(Token token) { return token_is_value(token) || token == TOKEN_CLOSE; }

bool token_is_value(Token token) {
  switch (token) {
  case TOKEN_NAME:
  case TOKEN_NUMBER:
  case TOKEN_STRING:
  case TOKEN_HEX:
  case TOKEN_PARAMETER:
  case TOKEN_NULL:
  case TOKEN_TRUE:
  case TOKEN_FALSE:
  case TOKEN_NAN:
  case TOKEN_INFINITY: return true;
  default: return false;
  }
}

Status lexer_next(Lexer *l) {
  while (l->at < l->length && is_space(l->text[l->at])) l->at++;
  l->start = l->at;
  if (l->at == l->length) return take(l, TOKEN_END, 0);
  char c = peek(l, 0), next = peek(l, 1);
  if (c == '\'') return take_quoted(l, TOKEN_STRING, 0);
  if (c == '"') return take_quoted(l, TOKEN_NAME, 0);
  if (lower(c) == 'x' && next == '\'') return take_quoted(l, TOKEN_HEX, 1);
  if (is_letter(c)) return take_word(l);
  bool has_sign = (c == '-' || c == '+') && !ends_value(l->token);
  char first = has_sign ? next : c, second = peek(l, has_sign ? 2 : 1);
  if (is_digit(first) || (first == '.' && is_digit(second))) return take_number(l);
  return take_symbol(l);
}
