{# A UTC datetime as a literal that means the same instant in every time zone of the session. #}
{% macro instant_literal(moment) -%}
    {{ return(adapter.dispatch('instant_literal')(moment.strftime('%Y-%m-%d %H:%M:%S.%f+00:00'))) }}
{%- endmacro %}

{% macro default__instant_literal(text) -%}
    cast('{{ text }}' as timestamp with time zone)
{%- endmacro %}

{% macro spark__instant_literal(text) -%}
    timestamp '{{ text }}'
{%- endmacro %}
