{# A number, as text, to compare two sets of rows: the exclusive or of the hashes of all rows, so
   that the order of the rows does not matter. The columns must be texts. Each
   engine has its own hash function, so fingerprints of two engines cannot be compared. #}
{% macro fingerprint(columns) -%}
    {{ return(adapter.dispatch('fingerprint')(columns)) }}
{%- endmacro %}

{% macro default__fingerprint(columns) -%}
    cast(bit_xor(hash({{ columns | join(', ') }})) as varchar)
{%- endmacro %}

{% macro postgres__fingerprint(columns) -%}
    cast(bit_xor(hashtextextended(concat_ws(chr(31), {{ columns | join(', ') }}), 0)) as text)
{%- endmacro %}

{% macro spark__fingerprint(columns) -%}
    cast(bit_xor(xxhash64({{ columns | join(', ') }})) as string)
{%- endmacro %}
