{# A number, as text, that differs between two sets of rows, whatever the order of the rows: the
   exclusive or of a hash of each row's columns, which are texts. Engines hash differently. #}
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
